"""Execution of the runs of a comparison: plan, cache, worker process and results."""
