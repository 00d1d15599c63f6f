"""The messages of a request to a chat API."""

from __future__ import annotations

Conversation = tuple[tuple[str, str], ...]
"""Messages of a conversation: pairs of role and text."""
