"""What a response costs beside the model: its text, its stop texts, its penalties."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.growth.workload import Workload

LONG = 81  # characters of a token, as of SmolLM2's longest


def write_held_text(size: int) -> Callable[[], object]:
    """A response all of which may be the beginning of a stop text, until the last character of each 20 tokens."""
    from softprompt.engine.text import Writer

    stops = ["a" * 240 + str(i) for i in range(16)]
    writer = Writer(lambda tokens: "".join("b" if token == 1 else "a" * LONG for token in tokens), stops)
    return lambda: [writer.add(int(i % 20 == 0)) for i in range(size)]


def write_broken_bytes(size: int) -> Callable[[], object]:
    """A response of bytes that are no characters."""
    from softprompt.model.detokenizer import Detokenizer

    detokenizer = Detokenizer(lambda tokens: bytes(tokens).decode("utf-8", errors="replace"))
    return lambda: [detokenizer.add(0x80) for _ in range(size)]


def draw_penalized(size: int) -> Callable[[], object]:
    """A response of tokens that all differ, drawn with penalties."""
    import torch

    from softprompt.engine import Request, Sampling
    from softprompt.engine.mask_pool import MaskPool
    from softprompt.engine.row_state import RowState
    from softprompt.engine.running import Running
    from softprompt.engine.sampler import choose_tokens

    request = Request((3,), Sampling(temperature=1.0, frequency_penalty=0.5))
    row, state = Running(request), RowState(request, lambda _: "", 8_192, MaskPool(1))
    logits = torch.randn(1, 8_192, generator=torch.Generator().manual_seed(0)) * 8

    def draw() -> None:
        for token in range(size):
            choose_tokens(logits, [row], [state])
            row.known.append(token)
            state.take(token)

    return draw


WORKLOADS = (
    Workload("write text that stop texts hold back", (500, 2_000, 8_000), write_held_text, "tokens"),
    Workload("write bytes that are no characters", (2_000, 8_000, 32_000), write_broken_bytes, "tokens"),
    Workload("draw tokens with penalties", (200, 800, 3_200), draw_penalized, "tokens"),
)
