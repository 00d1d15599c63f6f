"""Models and prompts to serve, and what our own engine answers behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig

from benchmarks.lib.server_process import train_byte_tokenizer
from softprompt.engine import Engine, EngineRequest, SamplingParams, TokenOutput
from softprompt.model import FrozenModel, KVPrefix, Payload, Placement, load_model
from softprompt.registry.locations import resolve_artifact_store
from softprompt.saved import SavedPrompt
from softprompt.tasks import GenerationTask
from softprompt.vllm_protocol import PromptTransferParams, prepend_placeholders

SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,  # of 32 numbers each: the fewest that vLLM's attention on CPUs takes
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


@dataclass(frozen=True)
class Prompt:
    """A prompt in the store.

    Attributes:
        payload: it.
        asked: how requests name it.
    """

    payload: KVPrefix
    asked: PromptTransferParams


@dataclass(frozen=True)
class Row:
    """What is asked: tokens behind a prompt, or behind none.

    Attributes:
        ids: the tokens.
        prompt: what they are behind.
        tenant: who asks.
    """

    ids: list[int]
    prompt: Prompt | None = None
    tenant: str = "acme"

    @property
    def tokens(self) -> list[int]:
        """All that vLLM is sent."""
        return prepend_placeholders(self.ids, self.prompt.asked.num_positions if self.prompt else 0)

    @property
    def salt(self) -> str:
        """As the gateway makes it."""
        content = self.prompt.asked.digest if self.prompt else ""
        return sha256(f"{self.tenant}\0{content}".encode()).hexdigest()

    @property
    def parameters(self) -> dict[str, Any] | None:
        """How vLLM is told of the prompt."""
        return self.prompt.asked.to_kv_transfer_params() if self.prompt else None


@dataclass
class Answer:
    """What was written.

    Attributes:
        tokens: it.
        logprob: the first token's.
        best: the tokens that were most probable in its place, with theirs.
    """

    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    best: dict[int, float] = field(default_factory=dict)


def tiny(folder: Path, config: PreTrainedConfig | None = None) -> FrozenModel:
    """A random model, kept in a folder as vLLM wants it."""
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config or LlamaConfig(**SIZES), dtype=torch.float32)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15)
    network.save_pretrained(folder)
    train_byte_tokenizer().save_pretrained(folder)
    return load_model(str(folder), device="cpu")


def drawn(model: FrozenModel, positions: int, seed: int) -> KVPrefix:
    """A random prefix."""
    numbers = torch.randn(model.shape.get_prefix_shape(positions), generator=torch.Generator().manual_seed(seed))
    return KVPrefix(numbers)


def left_by(model: FrozenModel, text: str, positions: int) -> torch.Tensor:
    """The keys and values that a text leaves in the model, again and again up to so many positions."""
    ids = (model.prompt_tokenizer.tokenize(text) * positions)[:positions]
    with torch.no_grad():
        return model.compute_kv(model.embed_tokens(torch.tensor([ids]))[0]).float()


def noisy(numbers: torch.Tensor, seed: int) -> KVPrefix:
    """Keys and values with noise, so that no text could have left them."""
    noise = torch.randn(numbers.shape, generator=torch.Generator().manual_seed(seed))
    return KVPrefix(numbers + 0.3 * numbers.std() * noise, Placement.BEFORE)


def put(place: Path | str, model: FrozenModel, payload: Payload) -> Prompt:
    """A prompt, stored."""
    task = GenerationTask(template="{input}")
    saved = SavedPrompt.from_payload(model, payload, task, method={"name": "prefix"}, trained_parameters=1)
    content = saved.manifest.content_hash.removeprefix("sha256:")
    resolve_artifact_store(place).write_artifact(content, saved.files)
    positions = payload.num_positions
    return Prompt(
        payload if isinstance(payload, KVPrefix) else drawn(model, positions, 0),
        PromptTransferParams(content, positions),
    )


def expected(model: FrozenModel, rows: Sequence[Row], new_tokens: int) -> list[Answer]:
    """What our own engine answers, greedy and past the end of the text."""
    engine = Engine(model, max_num_seqs=len(rows), max_model_len=512)
    answers = [Answer() for _ in rows]
    sampling = SamplingParams(max_new_tokens=new_tokens, ignore_eos=True, logprobs=5)
    for row, answer in zip(rows, answers, strict=True):

        def add_output(output: TokenOutput, answer: Answer = answer) -> None:
            assert output.token_id is not None
            assert output.logprob is not None
            if not answer.tokens:
                answer.logprob, answer.best = output.logprob, dict(output.top_logprobs)
            answer.tokens.append(output.token_id)

        payload = row.prompt.payload if row.prompt else None
        engine.add_request(EngineRequest(tuple(row.ids), sampling), payload, add_output)
    while not engine.is_idle:
        engine.step()
    return answers
