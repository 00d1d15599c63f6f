"""Options that every vLLM replica is started with, by `local_vllm_server`, by hand, or by deploy/.

They are independent of the model, the prompts' location and the size. `softprompt.vllm_protocol` builds the option that
names the plugin; the requirements of the plugin itself are in `softprompt.vllm.compatibility`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

#: Options of `vllm serve` without which responses differ from the gateway's documentation; "" for flags.
REQUIRED_OPTIONS: Mapping[str, str] = {
    "generation-config": "vllm",  # only the sampling parameters of the request
    "structured-outputs-config": json.dumps({"backend": "guidance"}),  # the library of softprompt's own engine
    "enable-prompt-tokens-details": "",  # reports prefix cache hits in `usage`
    "no-trust-remote-code": "",  # no supported model needs remote code
}


def count_spare_sequences(max_num_seqs: int) -> int:
    """Return the sequences that a replica runs beyond `max_num_seqs`, reserved for further tenants."""
    return max(1, max_num_seqs // 8)
