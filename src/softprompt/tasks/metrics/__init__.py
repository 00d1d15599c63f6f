"""Metrics as functions of predictions and references."""
