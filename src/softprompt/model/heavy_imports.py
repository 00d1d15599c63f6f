"""Imports torch and the large modules of transformers before the rest of the package, without garbage collection."""

from __future__ import annotations

from softprompt.gc_pause import pause_gc

with pause_gc():
    import torch  # noqa: F401
    import transformers.modeling_layers
    import transformers.models.auto.modeling_auto  # noqa: F401
