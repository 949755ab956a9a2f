"""What came out: the attribution, its parts, and what is asked of them later."""
