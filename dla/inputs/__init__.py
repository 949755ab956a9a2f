"""From what is passed to tokens and positions: plain values, a tokenizer's vocabulary, padding, prompts."""
