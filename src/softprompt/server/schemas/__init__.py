"""Schemas of requests and responses: OpenAI's API, with vLLM's extensions."""
