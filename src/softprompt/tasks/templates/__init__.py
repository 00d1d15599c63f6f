"""Templates: the text around the fields of an example, and its tokens."""
