"""The adaptation methods that a comparison knows, and the interface of custom ones."""
