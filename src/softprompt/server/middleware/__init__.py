"""ASGI middleware in front of the application."""
