"""Sampling and detokenization of generated tokens. Knows no model."""
