"""What a model is made of, found out from one small forward pass and never from its name."""
