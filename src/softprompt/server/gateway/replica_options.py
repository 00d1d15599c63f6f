"""What every vLLM server behind a gateway is started with, whoever starts it: `own`, a person, or deploy/.

It knows nothing of one machine: not the model, where prompts lie, nor how much runs at once. What softprompt's plugin
itself does not start without is in `softprompt.vllm.requirements`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

CONNECTOR = "SoftpromptConnector"  # as softprompt.vllm registers it

#: Options of `vllm serve` without which answers differ from what the gateway says they are; "" for one without a value.
REQUIRED_OPTIONS: Mapping[str, str] = {
    "generation-config": "vllm",  # nothing is drawn by other rules than those that were asked for
    "structured-outputs-config": json.dumps({"backend": "guidance"}),  # the same library as the engine in this process
    "enable-prompt-tokens-details": "",  # `usage` says what the prefix cache had
    "no-trust-remote-code": "",  # no supported model needs code of its own, so none is run
}


def kv_transfer_config(prompts: str) -> str:
    """The value of `--kv-transfer-config`.

    Args:
        prompts: where the store's prompts lie: a folder, or a URL that fsspec knows.
    """
    extra = {"prompts": prompts}
    return json.dumps({"kv_connector": CONNECTOR, "kv_role": "kv_both", "kv_connector_extra_config": extra})


def spare_rows(slots: int) -> int:
    """Rows that a replica runs beside a gateway's `slots`, which no tenant alone fills: what another finds free."""
    return max(1, slots // 8)
