"""Pushing saved prompts to the Hugging Face Hub, with a model card, and pulling them from there."""

from softprompt.hub.model_card import build_model_card
from softprompt.hub.pull import PullResult, pull_from_hub
from softprompt.hub.push import PushResult, push_to_hub

__all__ = ["PullResult", "PushResult", "build_model_card", "pull_from_hub", "push_to_hub"]
