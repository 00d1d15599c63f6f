"""`FrozenModel`: the interface of every base model.

A frozen model embeds tokens, computes hidden states and logits, compiles payloads, and has a fingerprint. It knows no
task, tuning method or saved prompt. The subclasses differ in which tokens attend to which: `CausalModel`,
`MaskedModel`, `EncoderDecoderModel`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from softprompt.errors import IncompleteModel, SettingError
from softprompt.model.branches import BranchedHiddenStates, SequenceBranches
from softprompt.model.eos_tokens import find_eos_token_ids
from softprompt.model.family import ModelFamily, resolve_family
from softprompt.model.fingerprint import compute_fingerprint
from softprompt.model.forward_budget import ACCELERATOR_BUDGET, CPU_BUDGET, SHARDED_BUDGET, ForwardBudget
from softprompt.model.lm_head import LMHead
from softprompt.model.model_shape import ModelKind, ModelShape
from softprompt.model.payload import Payload, Placement
from softprompt.model.payload_batch import BatchPayloads
from softprompt.model.prompt_tokenizer import PromptTokenizer
from softprompt.model.weight_checks import format_names

UNKNOWN_FINGERPRINT = ""  # the fingerprint of weights that are not available


class FrozenModel(ABC):
    """A frozen base model: in evaluation mode (no dropout) and without gradients for its weights.

    Attributes:
        network: transformers model.
        prompt_tokenizer: tokenizer of texts and answers, with this model's special tokens.
        name: name or path that the model was loaded from.
        family: accessors for the parts in which model families differ.
        shape: sizes that a soft prompt must fit.
        eos_token_ids: ids that end a response, beginning with the one used in training. Empty if neither tokenizer
            nor generation configuration has one.
        placements: supported placements of virtual tokens.
        is_sharded: whether the layers are sharded over processes, all of which must run the model equally often.
        missing_head_weights: names of language-modeling head weights that the files lack; if any, there is no head.
    """

    is_sharded = False
    missing_head_weights: tuple[str, ...] = ()
    placements: tuple[Placement, ...]

    def __init__(self, network: PreTrainedModel, prompt_tokenizer: PromptTokenizer, name: str):
        self.family: ModelFamily = resolve_family(network.config)
        self.network = network.eval().requires_grad_(False)
        self.prompt_tokenizer = prompt_tokenizer
        self.name = name
        self._lm_head = LMHead(self.network, self.family)
        self.shape = self._probe_shape()
        self.eos_token_ids = find_eos_token_ids(network, prompt_tokenizer.tokenizer, name)

    @abstractmethod
    def compute_hidden_states(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        payloads: BatchPayloads = None,
        output_mask: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T H"]:
        """Compute the last layer's output, each sequence with its payload. Positions count real tokens only.

        Args:
            input_ids: token ids, negative ones for virtual tokens.
            attention_mask: False at padding, which may be on either side.
            payloads: compiled payloads.
            output_mask: True at tokens whose output is needed; the output at other tokens is undefined.
        """

    @abstractmethod
    def compile_payload(self, payload: Payload) -> Payload:
        """Convert a payload into the form in which it is used, with gradient.

        Embeddings that do not see the text are run here once, instead of with every sequence.
        """

    @abstractmethod
    def compute_kv(self, embeddings: Float[Tensor, "P E"]) -> Float[Tensor, "L 2 G P D"]:
        """Compute the keys and values of one sequence that consists of these embeddings, with gradient."""

    @abstractmethod
    def compute_first_layer_values(self, token_ids: Int[Tensor, "N"]) -> Float[Tensor, "N _"]:
        """Compute the first layer's values, `[N, G·D]`, of N separate tokens, without running other layers."""

    @abstractmethod
    def enable_gradient_checkpointing(self) -> None:
        """Recompute each layer in the backward pass instead of keeping its activations: less memory, slower."""

    def supports_branches(self, payloads: BatchPayloads) -> bool:  # noqa: ARG002
        """Return whether `compute_branched_hidden_states` can be used with these payloads."""
        return False

    def compute_branched_hidden_states(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        payloads: BatchPayloads,
        output_mask: Bool[Tensor, "B T"],
        branches: SequenceBranches,
    ) -> BranchedHiddenStates:
        """Compute the last layer's output for sequences and for several continuations of each.

        Each sequence is computed once, whatever the number of its continuations.
        """
        raise NotImplementedError(f"{type(self).__name__} does not support branches")

    def compile_incrementally(self, payload: Payload, compiled: Payload | None, num_tokens: int) -> Payload:  # noqa: ARG002
        """Compile up to `num_tokens` further virtual tokens, so that a long prompt does not block other requests.

        Args:
            payload: payload to compile.
            compiled: result of the previous call; None in the first call.
            num_tokens: maximum number of virtual tokens to add.

        Returns:
            The compiled payload; compilation is complete once it has as many virtual tokens as `payload`.
        """
        return self.compile_payload(payload)

    def extend_prefix(self, payload: Payload | None, token_ids: Sequence[int]) -> Payload | None:  # noqa: ARG002
        """Append the tokens that all sequences begin with to a compiled payload, if it supports that."""
        return payload

    def pack_weights(self) -> None:  # noqa: B027
        """Convert weights for faster inference, where supported. The model cannot be trained afterwards."""

    def apply_fsdp(self, device: torch.device) -> None:  # noqa: ARG002
        """Shard each layer over all processes; this one keeps its part on `device`.

        A layer is gathered while it runs, so all processes must run the model equally often.

        Raises:
            SettingError: the model is not causal.
        """
        raise SettingError(f"{self.name} does not support FSDP: use a causal model, or train without FSDP")

    def embed_tokens(
        self, input_ids: Int[Tensor, "B T"], virtual_embeddings: Float[Tensor, "b P E"] | None = None
    ) -> Float[Tensor, "B T E"]:
        """Embed token ids; negative ids are placeholders for rows of `virtual_embeddings` (b is 1 or B)."""
        text: Tensor = self.network.get_input_embeddings()(input_ids.clamp(min=0))
        if virtual_embeddings is None:
            return text
        virtual = virtual_embeddings.to(text.dtype).expand(input_ids.shape[0], -1, -1)
        index = (-1 - input_ids).clamp(min=0).unsqueeze(-1).expand(-1, -1, virtual.shape[-1])
        return torch.where((input_ids < 0).unsqueeze(-1), virtual.gather(1, index), text)

    def compute_logits(
        self, hidden_states: Float[Tensor, "*rows H"], token_ids: Int[Tensor, "N"] | None = None
    ) -> Float[Tensor, "*rows V"]:
        """Compute logits `[…, V]` in float32, or `[…, N]` for the given tokens only.

        Raises:
            IncompleteModel: the model has no language-modeling head.
        """
        self.check_lm_head()
        return self._lm_head.compute_logits(hidden_states, token_ids)

    def check_lm_head(self) -> None:
        """Check that the model has a language-modeling head. Without one, only trained heads can be used.

        Raises:
            IncompleteModel: the model has no language-modeling head.
        """
        if self.missing_head_weights:
            head = "masked-language-modeling" if self.family.kind is ModelKind.MASKED else "language-modeling"
            raise IncompleteModel(
                f"{self.name} has no {head} head: its files lack {format_names(self.missing_head_weights)}. "
                "Choose a method or task that trains its own head: "
                '`method="p-tuning-v2"`, `head="linear"`, `task="token-classification"` or `task="extraction"`'
            )

    def _probe_shape(self) -> ModelShape:
        """Measure the sizes by running one token; families name them differently in their configurations."""
        embedding_layer = self.network.get_input_embeddings()
        zero = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        with torch.no_grad():
            keys_and_values = self.compute_kv(embedding_layer(zero)[0])
            output = self.compute_hidden_states(zero, zero == 0)
        L, _, G, _, D = keys_and_values.shape
        return ModelShape(
            kind=self.family.kind,
            num_layers=L,
            num_kv_heads=G,
            head_dim=D,
            hidden_size=output.shape[-1],
            embedding_size=embedding_layer.weight.shape[1],
            vocab_size=self.network.config.vocab_size,
            window=self.family.get_max_positions(self.network.config),
            takes_cache=self.family.supports_past_key_values,
        )

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Transformers tokenizer of the model."""
        return self.prompt_tokenizer.tokenizer

    @property
    def eos_token_id(self) -> int | None:
        """Id that ends a response in training, or a masked model's sequence; None if there is no such token."""
        return self.eos_token_ids[0] if self.eos_token_ids else None

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        device: torch.device = self.network.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Torch dtype of the weights."""
        dtype: torch.dtype = self.network.dtype
        return dtype

    @cached_property
    def precision(self) -> str:
        """Name of the weights' precision: a torch dtype, or the quantization (`int8`, `nf4`)."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def forward_budget(self) -> ForwardBudget:
        """Cost and limit of one forward pass on the device of the weights."""
        if self.is_sharded:
            return SHARDED_BUDGET
        return CPU_BUDGET if self.device.type == "cpu" else ACCELERATOR_BUDGET

    @cached_property
    def fingerprint(self) -> str:
        """Hash that identifies the weights; the same in every precision and on every device."""
        return compute_fingerprint(self.network)

    def matches_fingerprint(self, fingerprint: str) -> bool:
        """Return whether a fingerprint identifies these weights; True if the own fingerprint is unknown."""
        return self.fingerprint in (fingerprint, UNKNOWN_FINGERPRINT)

    @cached_property
    def num_parameters(self) -> int:
        """Number of parameters of the base model, N."""
        return sum(p.numel() for p in self.network.parameters())

    @cached_property
    def embedding_rms(self) -> float:
        """Root mean square of the token embeddings; learning rates of prompt embeddings are multiples of it."""
        ids = torch.arange(self.shape.vocab_size, device=self.device)  # in chunks: a vocabulary may have 250,000 tokens
        squares = [self.embed_tokens(part.unsqueeze(0)).float().pow(2).mean(dim=(0, 2)) for part in ids.split(4096)]
        return float(torch.cat(squares).mean().sqrt())
