"""Many prompts tuned on a Ray cluster."""

from softprompt.training.cluster.dispatching import run_on_cluster

__all__ = ["run_on_cluster"]
