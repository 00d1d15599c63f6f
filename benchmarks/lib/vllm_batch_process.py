"""vLLM in a process of its own, which answers batches, each asked for in a line of JSON; runs in vLLM's environment.

    .venv-vllm/bin/python -m benchmarks.lib.vllm_batch_process MODEL CONNECTOR ROWS LENGTH eager|compiled

CONNECTOR is vLLM's `kv_transfer_config` in JSON. A line of stdin is a batch: `{"new_tokens": N, "rows": [{"ids": […],
"positions": P, "salt": TEXT, "named": {…}}, …]}`, where `named` is how the connector calls the row's prefix; a row
behind none has 0 positions. A line of stdout is what they wrote: `[[…], …]`. Its first line says what runs here.
Greedy, and past the end-of-text token too. Whatever else would be printed goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from softprompt.vllm_protocol import prepend_placeholders

BLOCK_SIZE = 32  # positions; the least that vLLM's attention on CPUs likes


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what vLLM and its processes print
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
    """What the rows of a batch wrote."""
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
