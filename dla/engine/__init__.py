"""One forward pass: contract the activations while the model runs, measure its logits, add up."""
