"""Label scorers: verbalizers over the vocabulary, and the linear head."""
