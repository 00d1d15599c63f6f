"""Loaded and uploaded prompts."""
