"""Runs vLLM in its own process and environment, and answers batches that arrive as JSON lines.

    .venv-vllm/bin/python -m benchmarks.lib.vllm_batch_process MODEL CONNECTOR ROWS LENGTH eager|compiled

CONNECTOR is vLLM's `kv_transfer_config` in JSON. A line of stdin is a batch: `{"new_tokens": N, "rows": [{"ids": […],
"positions": P, "salt": TEXT, "named": {…}}, …]}`, where `named` is the connector's name of the prefix; a sequence
without prefix has 0 positions. A line of stdout has the generated tokens: `[[…], …]`. The first line describes the
environment. Generation is greedy, also past the end-of-text token. All other output goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from softprompt.vllm_protocol import prepend_placeholders

BLOCK_SIZE = 32  # positions; the smallest that vLLM's attention on CPUs supports


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # redirects the output of vLLM and its processes
    folder, connector, rows, length, how = sys.argv[1:]
    import vllm

    engine = vllm.LLM(
        folder,
        dtype="float32",
        block_size=BLOCK_SIZE,
        max_num_seqs=int(rows),
        max_model_len=int(length),
        enable_prefix_caching=True,
        seed=0,
        enforce_eager=how == "eager",
        kv_transfer_config=json.loads(connector),
    )
    print(json.dumps({"vllm": vllm.__version__, "how": how}), file=answers)
    for line in sys.stdin:
        print(json.dumps(generate_batch(engine, json.loads(line))), file=answers)


def generate_batch(engine: Any, batch: Mapping[str, Any]) -> list[list[int]]:
    """Return the generated tokens of a batch."""
    from vllm import SamplingParams

    rows, longest = batch["rows"], batch["new_tokens"]
    prompts = [
        {"prompt_token_ids": prepend_placeholders(row["ids"], row["positions"]), "cache_salt": row["salt"]}
        for row in rows
    ]
    named = [{"kv_transfer_params": row["named"]} if row["positions"] else None for row in rows]
    sampling = [SamplingParams(temperature=0, ignore_eos=True, max_tokens=longest, extra_args=each) for each in named]
    outputs = engine.generate(prompts, sampling, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


if __name__ == "__main__":
    main()
