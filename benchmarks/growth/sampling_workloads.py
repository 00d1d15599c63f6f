"""Cost of a response besides the model: its text, stop strings, penalties."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.growth.workload import ScalingWorkload

TOKEN_CHARS = 81  # characters of SmolLM2's longest token


def prepare_held_text(size: int) -> Callable[[], object]:
    """Prepare a response that may be the start of a stop string until the last character of each 20 tokens."""
    from softprompt.sampling.stop_aware_detokenizer import StopAwareDetokenizer

    stops = ["a" * 240 + str(i) for i in range(16)]
    writer = StopAwareDetokenizer(
        lambda tokens: "".join("b" if token == 1 else "a" * TOKEN_CHARS for token in tokens), stops
    )
    return lambda: [writer.push_token(int(i % 20 == 0)) for i in range(size)]


def prepare_broken_bytes(size: int) -> Callable[[], object]:
    """Prepare a response of bytes that form no characters."""
    from softprompt.sampling.incremental_detokenizer import IncrementalDetokenizer

    detokenizer = IncrementalDetokenizer(lambda tokens: bytes(tokens).decode("utf-8", errors="replace"))
    return lambda: [detokenizer.push_token(0x80) for _ in range(size)]


def prepare_penalized_draws(size: int) -> Callable[[], object]:
    """Prepare a response of distinct tokens, drawn with penalties."""
    import torch

    from softprompt.sampling import SampledToken, SamplingParams
    from softprompt.sampling.deferred_detokenizer import DeferredDetokenizer
    from softprompt.sampling.output_state import OutputState
    from softprompt.sampling.token_sampler import sample_tokens

    params = SamplingParams(max_new_tokens=size + 1, temperature=1.0, frequency_penalty=0.5)
    state = OutputState(params, (3,), (), DeferredDetokenizer(lambda _: ""))
    logits = torch.randn(1, 8_192, generator=torch.Generator().manual_seed(0)) * 8

    def draw_tokens() -> None:
        for token in range(size):
            sample_tokens(logits, [state])
            state.accept_token(SampledToken(token))

    return draw_tokens


WORKLOADS = (
    ScalingWorkload("write text that stop texts hold back", (500, 2_000, 8_000), prepare_held_text, "tokens"),
    ScalingWorkload("write bytes that are no characters", (2_000, 8_000, 32_000), prepare_broken_bytes, "tokens"),
    ScalingWorkload("draw tokens with penalties", (200, 800, 3_200), prepare_penalized_draws, "tokens"),
)
