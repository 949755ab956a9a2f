"""How rows and numbers look: tables, figures, files. Nothing here knows a model."""
