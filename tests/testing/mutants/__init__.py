"""Wrong decompositions, adapters and directions, each with a mistake that people make; and unusual right ones."""
