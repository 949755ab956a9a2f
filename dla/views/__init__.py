"""Ways to look at an attribution: datasets, files, tables. They know rows and numbers, nothing of models."""
