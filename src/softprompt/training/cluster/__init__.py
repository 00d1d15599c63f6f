"""Training of many prompts on a Ray cluster."""

from softprompt.training.cluster.dispatcher import tune_on_cluster

__all__ = ["tune_on_cluster"]
