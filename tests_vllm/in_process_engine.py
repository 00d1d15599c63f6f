"""vLLM in this process, with the plugin as an operator would configure it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from softprompt.vllm_protocol import build_kv_transfer_config
from tests_vllm.factories import Answer, Row

BLOCK = 32  # the least that vLLM's attention on CPUs takes


@contextmanager
def running(model: Path, place: Path | str, settings: dict[str, Any] | None = None, **options: Any) -> Iterator[Any]:
    """A vLLM that serves the prompts of a place."""
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    arguments: dict[str, Any] = {
        "dtype": "float32",
        "block_size": BLOCK,
        "max_model_len": 512,
        "enforce_eager": True,
        "seed": 0,
        "disable_log_stats": True,
        "kv_transfer_config": build_kv_transfer_config(**{"artifact_location": str(place), **(settings or {})}),
    }
    llm = None
    try:
        llm = LLM(str(model), **{**arguments, **options})
        yield llm
    finally:
        if llm is not None:
            llm.llm_engine.engine_core.shutdown()
        cleanup_dist_env_and_memory()


def asked(llm: Any, rows: Sequence[Row], new_tokens: int, **sampling: Any) -> list[Any]:
    """What vLLM gives for each row, all asked at once."""
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": row.tokens, "cache_salt": row.salt} for row in rows]
    parameters = [
        SamplingParams(
            max_tokens=new_tokens,
            ignore_eos=True,
            extra_args={"kv_transfer_params": row.parameters} if row.parameters else None,
            **{"temperature": 0, "logprobs": 5, **sampling},
        )
        for row in rows
    ]
    outputs: list[Any] = llm.generate(prompts, parameters, use_tqdm=False)
    return outputs


def answers(llm: Any, rows: Sequence[Row], new_tokens: int) -> list[Answer]:
    """What vLLM wrote behind each row."""
    found = []
    for output in asked(llm, rows, new_tokens):
        [one] = output.outputs
        first = {token: each.logprob for token, each in one.logprobs[0].items()}
        found.append(Answer(list(one.token_ids), first[one.token_ids[0]], first))
    return found


def halves(llm: Any) -> tuple[Any, Any]:
    """The connector beside vLLM's scheduler, and the one in its worker."""
    from vllm.distributed.kv_transfer import get_kv_transfer_group

    return llm.llm_engine.engine_core.engine_core.scheduler.connector, get_kv_transfer_group()
