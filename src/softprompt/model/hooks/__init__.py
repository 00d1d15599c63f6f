"""Hooks into transformers' networks: the only modules that depend on how transformers runs a layer.

A forward pass is transformers' own code everywhere else. There are five ways into it:

| # | mechanism | module | used for |
|---|---|---|---|
| 1 | cache objects, passed as `past_key_values` | `cache_layers` | prefixes of causal models; compiling |
|   | | `branch_cache` | continuations of the sequences of a batch |
| 2 | an attention function, registered by name | `prefix_attention` | prefixes of masked models and encoder-decoders |
| 3 | a shallow copy of the backbone, its layers replaced | `layer_range` | running some layers alone |
|   | | `sparse_last_layer` | the last layer at few positions |
| 4 | wrapped layers | `layer_checkpointing` | less memory in training |
|   | | `layer_sharding` | training on several devices |
| 5 | packed weights in place of a layer's own | `packed_layers` | faster inference on a CPU |

What each guarantees, and what of transformers it relies on:

| module | invariant | relies on |
|---|---|---|
| `cache_layers` | only a growing cache changes in a pass | `CacheLayerMixin`; one `update` per layer, keys rotated |
| `branch_cache` | branches do not see one another | as `cache_layers`; `EncoderDecoderCache.is_updated` |
| `prefix_attention` | without a hook it is `sdpa` | `AttentionInterface`; the order in which attentions run |
| `layer_range` | the copy shares all weights | layers are a direct child of the backbone, called in order |
| `sparse_last_layer` | all tokens have keys and values | names of a layer's arguments; `Cache.update` comes first |
| `layer_checkpointing` | a layer may read its cache twice | a layer is called as `layer(…)`; caches do not grow |
| `layer_sharding` | all processes run each layer equally often | a layer uses its own weights in `forward` only |
| `packed_layers` | same results up to rounding; no gradient | names in a Llama layer; `ALL_ATTENTION_FUNCTIONS` |

The engine registers one more attention function, in the same way: `softprompt.engine.attention`.

Two exceptions end a forward pass early and leave transformers' code by raising: `StopForward`, when a cache layer has
what it needs, and `LayerRangeEnd`, with the output of the last layer of a range. Neither leaves `softprompt.model`.
"""
