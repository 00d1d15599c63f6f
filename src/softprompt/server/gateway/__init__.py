"""The server without weights: what is asked of it, vLLM replicas answer (docs/gateway.md)."""

from softprompt.server.gateway.remote import Remote

__all__ = ["Remote"]
