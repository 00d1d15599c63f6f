"""Hooks into transformers' networks: the only modules that depend on how transformers runs a layer.

| module | mechanism | used for |
|---|---|---|
| `cache_layers` | cache layers that read, record or stop | prefixes of causal models, compiling |
| `prefix_attention` | an attention function that inserts keys and values | prefixes of other models |
| `layer_range` | a copy of the network with layers replaced | running some layers alone |
| `sparse_last_layer` | a last layer that runs for selected tokens only | outputs at few positions |
| `packed_layers` | layers with packed weights | faster inference on a CPU |

`StopForward` and `LayerRangeEnd` end a forward pass early; neither leaves the package `softprompt.model`.
"""
