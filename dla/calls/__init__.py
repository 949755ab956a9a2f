"""Calls that stand on the attributor: the form of TransformerLens' function, and results from files."""
