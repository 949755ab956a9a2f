"""Pictures of results, with plotly: one file a picture."""
