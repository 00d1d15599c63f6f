"""A causal language model whose weights never change, and the five things a soft prompt asks of it.

It embeds, runs, reads logits, compiles embeddings to a prefix, and tells its fingerprint. It does not know what a task,
a method or a saved prompt is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from softprompt.errors import SettingError
from softprompt.model import cache as caches
from softprompt.model.cache import CaptureLayer, Enough, FirstLayer, Past
from softprompt.model.family import resolve, sliding_window, softcap
from softprompt.model.fingerprint import fingerprint
from softprompt.model.payload import Embeddings, Payload, Placement, Prefix
from softprompt.model.shape import ModelShape

Payloads = Payload | Sequence[Payload | None] | None
"""One payload for every row, one for each row (None: the bare base), or none at all. All of them compiled."""


class FrozenModel:
    """A base model, frozen: in evaluation mode (no dropout) and without gradients for its weights.

    Attributes:
        network: the transformers model.
        tokenizer: its tokenizer.
        name: what it was loaded as.
        shape: its sizes.
        bos: the id that the tokenizer puts in front of every text, or None.
        eos: the id that ends a response.
    """

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str):
        self.family = resolve(network.config)
        self.network = network.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.shape = self._measured()
        self._softcap = softcap(network.config)
        self._told_positions = self.family.told_positions(network.config)
        self._slides = sliding_window(network.config) is not None
        self.bos: int | None = _leading_bos(tokenizer)
        self.eos: int = tokenizer.eos_token_id

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
    def fingerprint(self) -> str:
        """Names these weights; the same in every precision and on every device."""
        return fingerprint(self.network)

    @cached_property
    def num_parameters(self) -> int:
        """N, the base's own parameters."""
        return sum(p.numel() for p in self.network.parameters())

    @cached_property
    def embedding_scale(self) -> float:
        """The root mean square of the word embeddings: what a learning rate is measured against."""
        ids = torch.arange(self.shape.vocab_size, device=self.device)  # a part at a time: there are a quarter million
        squares = [self.embed(part.unsqueeze(0)).float().pow(2).mean(dim=(0, 2)) for part in ids.split(4096)]
        return float(torch.cat(squares).mean().sqrt())

    def _measured(self) -> ModelShape:
        """The sizes as they are, not as configurations put them: each family has its own words for them."""
        embeddings = self.network.get_input_embeddings()
        word = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        layers = [CaptureLayer() for _ in self.family.layers(self.network)]
        with torch.no_grad():
            output = self.family.trunk(self.network)(
                inputs_embeds=embeddings(word),
                attention_mask=torch.ones_like(word),
                past_key_values=Cache(layers=list(layers)),
                use_cache=True,
            ).last_hidden_state
        _, G, _, D = layers[0].captured.shape
        return ModelShape(
            num_layers=len(layers),
            num_kv_heads=G,
            head_dim=D,
            hidden_size=output.shape[-1],
            embedding_size=embeddings.weight.shape[1],
            vocab_size=self.network.config.vocab_size,
            window=self.family.window(self.network.config),
        )

    def tokenize(self, text: str, bos: bool = False) -> list[int]:
        """The ids of a text, behind the BOS that belongs in front of a row if `bos`."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return [self.bos, *ids] if bos and self.bos is not None else ids

    def embed(self, ids: Int[Tensor, "B T"], virtual: Float[Tensor, "b P H"] | None = None) -> Float[Tensor, "B T H"]:
        """Embed ids; negative ones are placeholders of the virtual tokens `virtual`, b being 1 or B."""
        text: Tensor = self.network.get_input_embeddings()(ids.clamp(min=0))
        if virtual is None:
            return text
        rows = virtual.to(text.dtype).expand(ids.shape[0], -1, -1)
        at = (-1 - ids).clamp(min=0).unsqueeze(-1).expand(-1, -1, rows.shape[-1])
        return torch.where((ids < 0).unsqueeze(-1), rows.gather(1, at), text)

    def hidden(
        self, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], payloads: Payloads = None
    ) -> Float[Tensor, "B T H"]:
        """The last layer's output for each token, each row behind its own payload.

        `mask` is false at padding, on whichever side it is; positions count real tokens only.
        """
        return self.advance(ids, mask, self.stand_behind(payloads, ids.shape[0]))

    def advance(self, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], past: Past) -> Float[Tensor, "B T H"]:
        """The last layer's output for tokens that stand behind `past`; a growing cache grows by T positions."""
        if self._slides and past.mask.shape[1] + ids.shape[1] > self.shape.window:
            raise SettingError(  # padding between the prompt and a token pushes the prompt out of the token's sight
                f"{past.mask.shape[1] + ids.shape[1]} positions in a row, padding included, where the sliding-window "
                f"layers of {self.name} see {self.shape.window}: shorten the text, or run rows of one length together"
            )
        positions = (past.lengths.unsqueeze(1) + mask.cumsum(dim=1) - 1).clamp(min=0)
        output: Tensor = self.family.trunk(self.network)(
            inputs_embeds=self.embed(ids, past.virtual),
            attention_mask=torch.cat([past.mask, mask], dim=1).long(),
            past_key_values=past.cache,
            use_cache=past.cache is not None,
            **({"position_ids": positions} if self._told_positions else {}),
        ).last_hidden_state
        return output

    def logits(
        self, hidden: Float[Tensor, "*rows H"], token_ids: Int[Tensor, "N"] | None = None
    ) -> Float[Tensor, "*rows V"]:
        """Logits `[…, V]`, or `[…, N]` of the tokens asked for: a verbalizer needs no other 49,000."""
        head = self.network.get_output_embeddings()
        weight, bias = head.weight, getattr(head, "bias", None)
        if token_ids is not None:
            weight, bias = weight[token_ids], None if bias is None else bias[token_ids]
        logits = torch.nn.functional.linear(hidden, weight, bias).float()
        return logits if self._softcap is None else self._softcap * torch.tanh(logits / self._softcap)

    def stand_behind(self, payloads: Payloads, num_rows: int, grow: bool = False) -> Past:
        """The state that `num_rows` rows begin with, each behind its compiled payload; `grow` to generate from it."""
        tensor, mask = self._prefixes(payloads, num_rows)
        cache: Cache | None = None
        if grow:
            cache = caches.growing(tensor, mask, self.shape.num_layers, self.dtype)
        elif tensor is not None:
            cache = caches.read_only(tensor)
        return Past(cache, mask, _virtual(payloads))

    def _prefixes(self, payloads: Payloads, num_rows: int) -> tuple[Tensor | None, Tensor]:
        """Keys and values `[L, 2, b, G, S, D]` in front of the rows, and which of them each row has, `[B, S]`."""
        if isinstance(payloads, Prefix):
            return caches.shared(payloads, num_rows)
        if isinstance(payloads, Sequence):
            prefixes = [p if isinstance(p, Prefix) else None for p in payloads]
            if found := [p for p in prefixes if p is not None]:
                return caches.stacked(prefixes, like=found[0])
        return None, torch.zeros(num_rows, 0, dtype=torch.bool, device=self.device)

    def prefill(self, embeddings: Float[Tensor, "P H"]) -> Float[Tensor, "L 2 G P D"]:
        """The keys and values that these embeddings leave when they stand in front: one row, with gradient."""
        layers = [CaptureLayer() for _ in range(self.shape.num_layers)]
        P = embeddings.shape[0]
        self.family.trunk(self.network)(
            inputs_embeds=embeddings.to(self.dtype).unsqueeze(0),
            attention_mask=torch.ones(1, P, dtype=torch.long, device=self.device),
            past_key_values=Cache(layers=list(layers)),
            use_cache=True,
        )
        return torch.stack([layer.captured for layer in layers])

    def first_values(self, ids: Int[Tensor, "N"]) -> Float[Tensor, "N _"]:
        """The first layer's values, `[N, G·D]`, of tokens each by itself; no other layer is run."""
        layer = FirstLayer()
        with suppress(Enough):
            self.family.trunk(self.network)(
                inputs_embeds=self.embed(ids.unsqueeze(1)),
                attention_mask=torch.ones(len(ids), 1, dtype=torch.long, device=self.device),
                past_key_values=Cache(layers=[layer]),
                use_cache=True,
            )
        assert layer.values is not None
        return layer.values.flatten(1).float()

    def compile(self, payload: Payload) -> Payload:
        """The payload as it is used: a prefix wherever it stands before the text. One forward pass, with gradient."""
        match payload:
            case Embeddings(placement=Placement.AFTER_TEXT):
                return payload
            case Embeddings(placement=Placement.AFTER_BOS):
                rows = torch.cat([self._bos_embedding().to(payload.tensor.dtype), payload.tensor])
                return Prefix(self.prefill(rows), payload.placement, has_bos=True)
            case Embeddings():
                return Prefix(self.prefill(payload.tensor), payload.placement)
            case Prefix(placement=Placement.AFTER_BOS, has_bos=False):
                bos = self.prefill(self._bos_embedding()).to(payload.tensor.dtype)
                return Prefix(torch.cat([bos, payload.tensor], dim=3), payload.placement, has_bos=True)
        return payload

    def _bos_embedding(self) -> Float[Tensor, "1 H"]:
        """The BOS token, embedded; only ever asked of a model that has one (`prompts.check_placement`)."""
        return self.embed(torch.tensor([[self.bos]], device=self.device))[0]

    def checkpoint_gradients(self) -> None:
        """Recompute each layer in the backward pass instead of keeping its activations: less memory, slower.

        transformers' own switch drops `past_key_values`, and with it a prefix, in silence. Here every layer is wrapped
        as it is; the caches that training uses may be read twice.
        """
        for layer in self.family.layers(self.network):
            layer.forward = partial(checkpoint, type(layer).forward.__get__(layer), use_reentrant=False)


def _leading_bos(tokenizer: PreTrainedTokenizerBase) -> int | None:
    ids = tokenizer("a").input_ids
    return ids[0] if ids and ids[0] == tokenizer.bos_token_id else None


def _virtual(payloads: Payloads) -> Tensor | None:
    """Embeddings `[b, P, H]` of the virtual tokens inside the rows, shorter ones padded behind, or None."""
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
