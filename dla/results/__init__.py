"""What came out: the attribution, and looking closer at one row of it."""
