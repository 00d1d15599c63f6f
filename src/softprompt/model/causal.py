"""A causal model: each token sees those in front of it, so a prompt there never sees the text and is run once."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from softprompt.errors import SettingError
from softprompt.model import cache as caches
from softprompt.model.cache import CaptureLayer, Enough, FirstLayer, LendingCaptureLayer, Past
from softprompt.model.family import resolve, sliding_window
from softprompt.model.frozen import Payloads, virtual_tokens
from softprompt.model.last_layer import places_of
from softprompt.model.packing import PackedLinear, can_pack, pack, settle
from softprompt.model.partial import Reached, partial
from softprompt.model.payload import Embeddings, Ground, Payload, Placement, Prefix
from softprompt.model.trunk_cache import Store, TrunkCache
from softprompt.model.writing import Draft, WritingModel

TOLD_BY_MASK = ("eager", "sdpa")  # who sees what; other ways to attend have other words for it


class CausalModel(WritingModel):
    """Llama, GPT-2, BLOOM and the like."""

    placements = (Placement.BEFORE, Placement.AFTER_BOS, Placement.AFTER_TEXT, Placement.IN_TEMPLATE)

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str):
        self._trunk: TrunkCache | None = None
        self._packed_words: PackedLinear | None = None
        self._cuts_last_layer = network.config._attn_implementation in TOLD_BY_MASK
        slides = sliding_window(network.config) is not None
        self._reach = resolve(network.config).window(network.config) if slides else None  # `super` runs the network
        super().__init__(network, tokenizer, name)

    def row(self, ids: list[int]) -> list[int]:
        """A text's ids behind the BOS, where the tokenizer puts one."""
        return ids if self.bos is None else [self.bos, *ids]

    def answers(self, before: str, texts: Sequence[str]) -> list[list[int]]:
        """As it continues the text."""
        return self.continuations(before, texts)

    def room_beside(self, answer: int, room: int) -> int:
        """What the answer leaves: both are one row."""
        return room - answer

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        payloads: Payloads = None,
        reads: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T H"]:
        """See `FrozenModel`."""
        return self.advance(ids, mask, self.stand_behind(payloads, ids.shape[0]), reads)

    def advance(
        self,
        ids: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        past: Past,
        reads: Bool[Tensor, "B T"] | None = None,
        embeddings: Float[Tensor, "B T E"] | None = None,
    ) -> Float[Tensor, "B T H"]:
        """The last layer's output for tokens that stand behind `past`; a growing cache grows by T positions.

        `embeddings` are theirs where the caller has made them.
        """
        states = self._trunk.states(ids, mask, past.grounds, self._on_ground) if self._trunk and past.grounds else None
        places = None if reads is None or not self._cuts_last_layer else places_of(reads)
        embeddings = self.embed(ids, past.virtual) if embeddings is None else embeddings
        return self._run(past, embeddings, mask, states, places=places)

    def remembering(self, store: Store) -> CausalModel:
        """The same model, which looks up what the layers of a ground make of a text where it was computed before."""
        model = copy.copy(self)
        model._trunk = TrunkCache(store, f"{self.fingerprint} {self.precision} {_setting(self.network)}")
        return model

    def _on_ground(self, ids: Int[Tensor, "1 T"], ground: Ground) -> Float[Tensor, "1 T H"]:
        """What the layers in which a ground stands make of one text."""
        mask = torch.ones_like(ids, dtype=torch.bool)
        with torch.no_grad():
            past = self._behind(Prefix(ground.tensor), 1)
            return self._run(past, self.embed(ids), mask, last=len(ground.tensor))

    def _run(
        self,
        past: Past,
        embeddings: Float[Tensor, "B T E"],
        mask: Bool[Tensor, "B T"],
        states: Float[Tensor, "B T H"] | None = None,
        last: int | None = None,
        places: Int[Tensor, "B R"] | None = None,
    ) -> Float[Tensor, "B T H"]:
        """What the layer below `last`, or the network, gives for tokens behind a past.

        `states` come from the layer below the lowest that the past is for.
        """
        self._check_reach(past.mask.shape[1] + mask.shape[1])
        positions = (past.lengths.unsqueeze(1) + mask.cumsum(dim=1) - 1).clamp(min=0)
        trunk, layers = self.family.trunk(self.network), self.family.layers(self.network)
        if past.first or last is not None or places is not None:
            in_tuple = self.family.layers_give_tuples
            trunk = partial(trunk, layers, past.first, last or len(layers), states, in_tuple, places)
        try:
            output: Tensor = trunk(
                inputs_embeds=embeddings,
                attention_mask=torch.cat([past.mask, mask], dim=1).long(),
                past_key_values=past.cache,
                use_cache=past.cache is not None,
                **({"position_ids": positions} if self.family.told_positions(self.network.config) else {}),
            ).last_hidden_state
        except Reached as reached:
            return reached.states
        return output

    def _check_reach(self, num_positions: int) -> None:
        """Whether every layer sees the whole row: padding between prompt and token pushes the prompt out of sight."""
        if self._reach is not None and num_positions > self._reach:
            raise SettingError(
                f"{num_positions} positions in a row, padding included, where the sliding-window layers of "
                f"{self.name} see {self._reach}: shorten the text, or run rows of one length together"
            )

    def summary(self, ids: Sequence[int]) -> int:
        """All of them: the last token has seen every other."""
        return len(ids)

    def stand_behind(self, payloads: Payloads, num_rows: int, grow: bool = False) -> Past:
        """The state that `num_rows` rows begin with, each behind its compiled payload; `grow` to generate from it."""
        each = payloads if isinstance(payloads, Sequence) else [payloads] * num_rows
        grounds = tuple(p.ground for p in each if isinstance(p, Prefix) and p.ground is not None)
        if grow or self._trunk is None or len(grounds) < num_rows or len({len(g.tensor) for g in grounds}) > 1:
            return self._behind(caches.from_layer(payloads, 0), num_rows, grow)
        first = len(grounds[0].tensor)
        return replace(self._behind(caches.from_layer(payloads, first), num_rows, first=first), grounds=grounds)

    def _behind(self, payloads: Payloads, num_rows: int, grow: bool = False, first: int = 0) -> Past:
        """The state of rows behind what stands in the layers from `first` on."""
        tensor, mask = caches.prefixes(payloads, num_rows, self.device)
        cache: Cache | None = None
        if grow:
            cache = caches.growing(tensor, mask, len(self.family.layers(self.network)), self.dtype)
        elif tensor is not None:
            cache = caches.read_only(tensor, first)
        return Past(cache, mask, virtual_tokens(payloads), first)

    def draft(self, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], payloads: Payloads) -> Draft:
        """The rows behind their compiled payloads, in a cache that grows with what is written."""
        return self._drafted(ids, mask, self.stand_behind(payloads, ids.shape[0], grow=True))

    def _drafted(self, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], past: Past) -> Draft:
        last = mask.sum(dim=1) - 1
        reads = torch.arange(mask.shape[1], device=mask.device) == last.unsqueeze(1)
        hidden = self.advance(ids, mask, past, reads)[torch.arange(len(last)), last]
        whole = past.behind(mask)
        return Draft(hidden, lambda tokens: self._drafted(tokens.unsqueeze(1), mask.new_ones(len(last), 1), whole))

    def prefill(self, embeddings: Float[Tensor, "P E"]) -> Float[Tensor, "L 2 G P D"]:
        """The keys and values that these embeddings leave when they stand in front: one row, with gradient."""
        layers = [CaptureLayer() for _ in self.family.layers(self.network)]
        P = embeddings.shape[0]
        self.family.trunk(self.network)(
            inputs_embeds=embeddings.to(self.dtype).unsqueeze(0),
            attention_mask=torch.ones(1, P, dtype=torch.long, device=self.device),
            past_key_values=Cache(layers=list(layers)),
            use_cache=True,
        )
        return torch.stack([layer.captured for layer in layers])

    def _prolonged(self, prefix: Prefix, ids: Sequence[int]) -> Prefix:
        """The prefix with the keys and values that the first ids of its rows leave behind it."""
        if not ids:
            return prefix
        longer = self._extend(prefix, self.embed(torch.tensor([ids], device=self.device))[0])
        return replace(longer, beginning=len(ids))

    def _extend(self, prefix: Prefix, embeddings: Float[Tensor, "T E"]) -> Prefix:
        """The prefix with the keys and values that these embeddings leave behind it."""
        layers = [LendingCaptureLayer(keys, values) for keys, values in prefix.tensor.unsqueeze(2)]
        past = Past(Cache(layers=list(layers)), caches.shared(prefix, 1)[1])
        mask = torch.ones(1, len(embeddings), dtype=torch.bool, device=self.device)
        self._run(past, embeddings.to(self.dtype).unsqueeze(0), mask)
        own = torch.stack([layer.captured for layer in layers]).to(prefix.tensor.dtype)
        return replace(prefix, tensor=torch.cat([prefix.tensor, own], dim=3))

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
            case Embeddings(placement=Placement.AFTER_TEXT | Placement.IN_TEMPLATE):
                return payload
            case Embeddings(placement=Placement.AFTER_BOS):
                rows = torch.cat([self._bos_embedding().to(payload.tensor.dtype), payload.tensor])
                return Prefix(self.prefill(rows), payload.placement, has_bos=True)
            case Embeddings():
                return Prefix(self.prefill(payload.tensor), payload.placement)
            case Prefix(is_complete=False):
                bos = self.prefill(self._bos_embedding()).to(payload.tensor.dtype)
                return Prefix(torch.cat([bos, payload.tensor], dim=3), payload.placement, has_bos=True)
        return payload

    def compile_further(self, payload: Payload, made: Payload | None, tokens: int) -> Payload:
        """See `FrozenModel`: the keys and values of some virtual tokens more, behind those that were made."""
        if not isinstance(payload, Embeddings) or payload.placement not in (Placement.BEFORE, Placement.AFTER_BOS):
            return self.compile(payload)
        if made is None:
            return self.compile(payload.with_tensor(payload.tensor[:tokens]))
        assert isinstance(made, Prefix)
        first = made.num_virtual_tokens
        return self._extend(made, payload.tensor[first : first + tokens])

    def prolonged(self, payload: Payload | None, ids: Sequence[int]) -> Payload | None:
        """See `FrozenModel`: what is in front of the text takes in what follows it, unless it stands on a ground.

        A ground is what states are remembered by, and what rows begin with is another thing in every step.
        """
        match payload:
            case None:
                return Prefix(self.prefill(self.embed(torch.tensor([ids], device=self.device))[0]), beginning=len(ids))
            case Prefix(ground=None):
                return self._prolonged(payload, payload.arrange(list(ids)))
        return payload

    def _bos_embedding(self) -> Float[Tensor, "1 E"]:
        """The BOS token, embedded; only ever asked of a model that has one (`prompts.check_placement`)."""
        return self.embed(torch.tensor([[self.bos]], device=self.device))[0]

    def checkpoint_gradients(self) -> None:
        """Recompute each layer in the backward pass instead of keeping its activations: less memory, slower.

        transformers' own switch drops `past_key_values`, and with it a prefix, in silence. Here every layer is wrapped
        as it is; the caches that training uses may be read twice.
        """
        for layer in self.family.layers(self.network):
            layer.forward = functools.partial(checkpoint, type(layer).forward.__get__(layer), use_reentrant=False)
        self._cuts_last_layer = False  # its first run would be recomputed, and end as early again

    def pack(self) -> None:
        """Put the weights into the order in which this CPU multiplies them fastest, where one is known.

        The old ones go: from then on the model answers, and does not train any more.
        """
        if self._packed_words is not None or self.missing_head or not can_pack(self.network):
            return
        _ = self.fingerprint, self.num_parameters  # of the weights as they are now
        pack(self.family.layers(self.network), self.family.are_llamas(self.network.config))
        words, bias = self.network.get_output_embeddings().weight, self.family.word_bias(self.network)
        self._packed_words = PackedLinear(words, bias)
        settle(self.network, self._packed_words)

    def _all_words(self, states: Float[Tensor, "*rows E"]) -> Float[Tensor, "*rows V"]:
        return super()._all_words(states) if self._packed_words is None else self._packed_words(states)

    def shard(self, device: torch.device) -> None:
        """See `FrozenModel`; FSDP as in Zhao et al. 2023 (arXiv 2304.11277). Embeddings are whole in every process."""
        mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
        for layer in self.family.layers(self.network):
            fully_shard(layer, mesh=mesh)
        torch.nn.Module.to(self.network, device=device)
        self.is_sharded, self._cuts_last_layer = True, False  # a layer is put together as often as it ends


def _setting(network: PreTrainedModel) -> str:
    """Names what the network's arithmetic depends on beside its weights: its configuration, and how it attends."""
    config = json.dumps(network.config.to_dict(), sort_keys=True, default=str)
    return f"{hashlib.sha256(config.encode()).hexdigest()[:16]} {network.config._attn_implementation}"
