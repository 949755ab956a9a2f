"""Measurements: what attribution costs beside a plain forward pass. Nothing here runs in the test-suite's time."""
