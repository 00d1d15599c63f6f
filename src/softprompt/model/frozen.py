"""A language model whose weights never change: what every kind of it is asked.

It embeds, runs, reads logits and tells its fingerprint. It does not know what a task, a method or a saved prompt is.
How tokens see one another is what the kinds differ in: `CausalModel`, `MaskedModel`, `EncoderDecoderModel`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from softprompt.errors import IncompleteModel, SettingError
from softprompt.model.end_tokens import end_tokens
from softprompt.model.family import Family, resolve, softcap
from softprompt.model.fingerprint import fingerprint
from softprompt.model.payload import Embeddings, Payload, Placement
from softprompt.model.shape import Kind, ModelShape
from softprompt.model.weights import listed

Payloads = Payload | Sequence[Payload | None] | None
"""One payload for every row, one for each row (None: the bare base), or none at all. All of them compiled."""


UNKNOWN = ""  # the fingerprint of weights that nobody here has seen
PASS_ON_CPU, PASS_ON_ACCELERATOR = 128, 4096
TOKENS_ON_CPU, TOKENS_ON_ACCELERATOR = 2048, 16384


class FrozenModel(ABC):
    """A base model, frozen: in evaluation mode (no dropout) and without gradients for its weights.

    Attributes:
        network: the transformers model.
        tokenizer: its tokenizer.
        name: what it was loaded as.
        family: what its family has its own way of.
        shape: its sizes.
        bos: the id that the tokenizer puts in front of every text (BOS, or a masked model's CLS), or None.
        eos_token_ids: every id at which a response ends, in front the one that is learnt; empty where neither the
            tokenizer nor the generation configuration has one.
        placements: where virtual tokens can stand in its rows.
        is_sharded: its layers are spread over processes, all of which must run it equally often.
        missing_head: the weights of its word head that its files lack; then it has none.
        text_check: looks at each text before it is put in tokens, and may refuse it.
    """

    is_sharded = False
    text_check: Callable[[str], None] | None = None
    missing_head: tuple[str, ...] = ()
    placements: tuple[Placement, ...]

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str):
        self.family: Family = resolve(network.config)
        self.network = network.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.shape = self._measured()
        self.bos: int | None = _leading_bos(tokenizer)
        self.eos_token_ids = end_tokens(network, tokenizer, name)
        self._softcap = softcap(network.config)

    @property
    def eos(self) -> int | None:
        """The id that a learnt response ends with, or a masked model's row; None where there is no such token."""
        return self.eos_token_ids[0] if self.eos_token_ids else None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.network.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        dtype: torch.dtype = self.network.dtype
        return dtype

    @cached_property
    def precision(self) -> str:
        """The precision of the weights in a word: torch's, or how they are quantised."""
        return str(self.dtype).removeprefix("torch.")

    @cached_property
    def fingerprint(self) -> str:
        """Names these weights; the same in every precision and on every device."""
        return fingerprint(self.network)

    def may_be(self, fingerprint: str) -> bool:
        """Whether a fingerprint names these weights; any may, where they are not here to be asked."""
        return self.fingerprint in (fingerprint, UNKNOWN)

    def check_word_head(self) -> None:
        """Whether it can say words; one whose files hold no word head can still be read by heads that are trained.

        Raises:
            IncompleteModel: it has no word head.
        """
        if self.missing_head:
            raise IncompleteModel(
                f"{self.name} has no head for {'masked' if self.family.kind is Kind.MASKED else 'the next'} words: its "
                f"files lack {listed(self.missing_head)}. Choose what trains a head of its own: "
                '`method="p-tuning-v2"`, `head="linear"`, `task="token-classification"` or `task="extraction"`'
            )

    @cached_property
    def num_parameters(self) -> int:
        """N, the base's own parameters."""
        return sum(p.numel() for p in self.network.parameters())

    @cached_property
    def embedding_scale(self) -> float:
        """The root mean square of the word embeddings: what the learning rate of embeddings is measured by."""
        ids = torch.arange(self.shape.vocab_size, device=self.device)  # a part at a time: there are a quarter million
        squares = [self.embed(part.unsqueeze(0)).float().pow(2).mean(dim=(0, 2)) for part in ids.split(4096)]
        return float(torch.cat(squares).mean().sqrt())

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """The tokens that are no text, by how they are written."""
        return {token.content: at for at, token in self.tokenizer.added_tokens_decoder.items() if token.special}

    @cached_property
    def _special_pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def split_special(self, text: str) -> list[str | int]:
        """A text in parts: the ids of the special tokens it writes, and the words between them."""
        if not self.special_tokens:
            return [text]
        return [self.special_tokens.get(part, part) for part in self._special_pattern.split(text) if part]

    def check_text(self, text: str) -> None:
        """Whether a text may be put in tokens here; whatever `text_check` raises, if it may not."""
        if self.text_check is not None:
            self.text_check(text)

    def tokenize(self, text: str, *, plain: bool = False) -> list[int]:
        """The ids of a text; special tokens written in it are themselves, or if `plain` words like any other."""
        self.check_text(text)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=plain).input_ids
        return ids

    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each of several texts, as `tokenize` gives them, in one call."""
        for text in texts:
            self.check_text(text)
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False).input_ids if texts else []
        return ids

    def continuation(self, before: str, text: str) -> list[int]:
        """The ids that `text` has when it follows `before`: the tokenizer may treat a beginning differently."""
        return self.continuations(before, [text])[0]

    def continuations(self, before: str, texts: Sequence[str]) -> list[list[int]]:
        """The ids that each of several texts has when it follows `before`."""
        [head, *wholes] = self.tokenize_all([before, *(before + text for text in texts)])
        found = [whole[len(head) :] if whole[: len(head)] == head else None for whole in wholes]
        alone = iter(self.tokenize_all([text for text, ids in zip(texts, found, strict=True) if ids is None]))
        return [next(alone) if ids is None else ids for ids in found]

    @abstractmethod
    def row(self, ids: list[int]) -> list[int]:
        """A text's ids with the special tokens around them that the model expects of a row."""

    def answer(self, before: str, text: str) -> list[int]:
        """The ids of an answer where it stands in a row whose text ends with `before`."""
        return self.answers(before, [text])[0]

    @abstractmethod
    def answers(self, before: str, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each of several answers where it stands in a row whose text ends with `before`."""

    @abstractmethod
    def room_beside(self, answer: int, room: int) -> int:
        """How long a row may be in front of an answer of that many tokens, where there is `room` for a row."""

    def embed(self, ids: Int[Tensor, "B T"], virtual: Float[Tensor, "b P E"] | None = None) -> Float[Tensor, "B T E"]:
        """Embed ids; negative ones are placeholders of the virtual tokens `virtual`, b being 1 or B."""
        text: Tensor = self.network.get_input_embeddings()(ids.clamp(min=0))
        if virtual is None:
            return text
        rows = virtual.to(text.dtype).expand(ids.shape[0], -1, -1)
        at = (-1 - ids).clamp(min=0).unsqueeze(-1).expand(-1, -1, rows.shape[-1])
        return torch.where((ids < 0).unsqueeze(-1), rows.gather(1, at), text)

    @abstractmethod
    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        payloads: Payloads = None,
        reads: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T H"]:
        """The last layer's output for each token, each row with its own payload.

        `mask` is false at padding, on whichever side it is; positions count real tokens only. Where `reads` says at
        which tokens the output is looked at, it may be anything at the others.
        """

    def logits(
        self, hidden: Float[Tensor, "*rows H"], token_ids: Int[Tensor, "N"] | None = None
    ) -> Float[Tensor, "*rows V"]:
        """Logits `[…, V]`, or `[…, N]` of the tokens asked for: a verbalizer needs no other 49,000.

        Raises:
            IncompleteModel: the model has no word head.
        """
        self.check_word_head()
        states = self.family.to_words(self.network)(hidden)
        logits = self._all_words(states) if token_ids is None else self._words(states, token_ids)
        logits = logits.float()
        return logits if self._softcap is None else self._softcap * torch.tanh(logits / self._softcap)

    def _all_words(self, states: Float[Tensor, "*rows E"]) -> Float[Tensor, "*rows V"]:
        return self._words(states, slice(None))

    def _words(self, states: Float[Tensor, "*rows E"], which: Tensor | slice) -> Float[Tensor, "*rows N"]:
        weight, bias = self.network.get_output_embeddings().weight, self.family.word_bias(self.network)
        return torch.nn.functional.linear(states, weight[which], None if bias is None else bias[which])

    @abstractmethod
    def summary(self, ids: Sequence[int]) -> int:
        """How many ids of a row go up to the token that stands for it all, that token included."""

    @abstractmethod
    def compile(self, payload: Payload) -> Payload:
        """The payload as it is used, with gradient: what need not be run with every row is run here, once."""

    def compile_further(self, payload: Payload, made: Payload | None, tokens: int) -> Payload:  # noqa: ARG002
        """A compiled payload that holds up to `tokens` virtual tokens more than `made`; None to begin.

        Whoever shares the model with others compiles a long payload so: it is whole once it has as many virtual tokens.
        """
        return self.compile(payload)

    def prolonged(self, payload: Payload | None, ids: Sequence[int]) -> Payload | None:  # noqa: ARG002
        """A compiled payload together with the ids that all its rows begin with, as far as it can take them in."""
        return payload

    @property
    def pass_cost(self) -> int:
        """What a pass costs beside its tokens, in tokens: the weights are read once, however little they are used.

        Some on a CPU; on an accelerator as many as fill it. Where several processes must run the model equally
        often, no pass of one's own is worth it.
        """
        if self.is_sharded:
            return 10**9
        return PASS_ON_CPU if self.device.type == "cpu" else PASS_ON_ACCELERATOR

    @property
    def pass_tokens(self) -> int:
        """How many tokens may be in a pass: more would be no faster, and what the backward pass needs would be more."""
        if self.is_sharded:
            return 10**9
        return TOKENS_ON_CPU if self.device.type == "cpu" else TOKENS_ON_ACCELERATOR

    @abstractmethod
    def prefill(self, embeddings: Float[Tensor, "P E"]) -> Float[Tensor, "L 2 G P D"]:
        """The keys and values that these embeddings leave when they are all there is: one row, with gradient."""

    @abstractmethod
    def first_values(self, ids: Int[Tensor, "N"]) -> Float[Tensor, "N _"]:
        """The first layer's values, `[N, G·D]`, of tokens each by itself; no other layer is run."""

    @abstractmethod
    def checkpoint_gradients(self) -> None:
        """Recompute each layer in the backward pass instead of keeping its activations: less memory, slower."""

    def pack(self) -> None:  # noqa: B027
        """Answer faster from now on, and train no more, where that is known for this kind of model."""

    def shard(self, device: torch.device) -> None:  # noqa: ARG002
        """Keep a part of each layer on this device, the others in the processes that run with this one.

        A layer is whole while it runs; all processes must run the model equally often.

        Raises:
            SettingError: the model is of a kind that is not spread.
        """
        raise SettingError(f"FSDP is for causal models: leave it out with {self.name}")

    def _measured(self) -> ModelShape:
        """The sizes as they are, not as configurations put them: each family has its own words for them."""
        words = self.network.get_input_embeddings()
        zero = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        with torch.no_grad():
            keys_and_values = self.prefill(words(zero)[0])
            output = self.hidden(zero, zero == 0)
        L, _, G, _, D = keys_and_values.shape
        return ModelShape(
            kind=self.family.kind,
            num_layers=L,
            num_kv_heads=G,
            head_dim=D,
            hidden_size=output.shape[-1],
            embedding_size=words.weight.shape[1],
            vocab_size=self.network.config.vocab_size,
            window=self.family.window(self.network.config),
            takes_cache=self.family.takes_cache,
        )


def _leading_bos(tokenizer: PreTrainedTokenizerBase) -> int | None:
    ids = tokenizer("a").input_ids
    return ids[0] if ids and ids[0] in (tokenizer.bos_token_id, tokenizer.cls_token_id) else None


def virtual_tokens(payloads: Payloads) -> Float[Tensor, "b P E"] | None:
    """Embeddings of the virtual tokens inside the rows, shorter ones padded behind, or None (b is 1 or B)."""
    if isinstance(payloads, Embeddings):
        return payloads.tensor.unsqueeze(0)
    if not isinstance(payloads, Sequence):
        return None
    found = [p.tensor for p in payloads if isinstance(p, Embeddings)]
    if not found:
        return None
    nothing = found[0].new_zeros(0, found[0].shape[1])
    rows = [p.tensor if isinstance(p, Embeddings) else nothing for p in payloads]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
