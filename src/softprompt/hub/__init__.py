"""Saved prompts to and from the Hugging Face Hub, with a card that says what they do. Knows no method."""

from softprompt.hub.card import card
from softprompt.hub.pulling import Pulled, pull
from softprompt.hub.pushing import Pushed, push

__all__ = ["Pulled", "Pushed", "card", "pull", "push"]
