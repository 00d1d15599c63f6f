"""The hard prompt through an OpenAI-compatible API."""
