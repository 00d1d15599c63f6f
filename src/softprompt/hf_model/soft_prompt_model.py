"""`SoftPromptModel`: `forward` and `generate` of a frozen model, with a soft prompt in front of every sequence.

Hugging Face's `Trainer` accepts the model with an unchanged collator. Parameters and state dict hold the prompt alone.
The model knows no tasks: input ids and labels come from the caller.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from transformers import GenerationConfig
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from softprompt.errors import SettingError
from softprompt.hf_model import hf_generate
from softprompt.hf_model.generation_inputs import GenerationInputs
from softprompt.hf_model.pad_token import ensure_pad_token
from softprompt.hf_model.pretrained_interface import PreTrainedInterface
from softprompt.model import CausalModel, FrozenModel, PastState, Payload, Placement, PromptedDynamicCache, load_model
from softprompt.prompts import PromptOptions, SoftPrompt, build_prompt
from softprompt.saved import SavedPrompt
from softprompt.tasks import GenerationTask, Task

DEFAULT_INIT_TEXT = "Read the text carefully and go on with it as is right, complete and in good style.\n\n"


class SoftPromptModel(PreTrainedInterface):
    """A frozen causal model that runs every sequence after a soft prompt.

    Attributes:
        prompt: the prompt being trained; None if the model only uses saved prompts.
        method: name and initializer of the tuning method, which the saved prompt's manifest records.
        active_prompt: name of the loaded prompt that calls use unless they pass `prompts`.
        generation_config: default options of `generate`; initially a copy of the base model's.
    """

    def __init__(
        self, frozen_model: CausalModel, prompt: SoftPrompt | None = None, method: dict[str, Any] | None = None
    ):
        super().__init__(frozen_model)
        self.prompt = prompt
        self.method = method or {}
        self.active_prompt: str | None = None
        self._is_disabled = False
        self._loaded_prompts: dict[str, Payload] = {}
        self.generation_config = hf_generate.make_generation_config(frozen_model)
        ensure_pad_token(frozen_model)

    @classmethod
    def from_pretrained(
        cls, name: str, *, device: str = "auto", dtype: str = "auto", **options: Any
    ) -> SoftPromptModel:
        """Load a base model and put a new, trainable prompt in front of it.

        Args:
            name: bundled model, folder, `.gguf` file or Hub id, as for `load_model`.
            device: device of the base model, as for `load_model`.
            dtype: precision of the base model, as for `load_model`.
            options: fields of `PromptOptions`; `init="prompt:FOLDER"` continues training a saved prompt.

        Raises:
            SettingError: an option is invalid.
        """
        frozen = load_model(name, device=device, dtype=dtype)
        return cls.from_model(frozen, PromptOptions(**options))

    @classmethod
    def from_model(cls, frozen_model: FrozenModel, options: PromptOptions) -> SoftPromptModel:
        """Put a new, trainable prompt in front of a loaded model.

        Raises:
            SettingError: the model is not causal, the placement is not `before`, or the options name several tasks.
            IncompleteModel: the model has no language-modeling head.
        """
        if not isinstance(frozen_model, CausalModel):
            raise SettingError(f"{frozen_model.name} is not a causal model: use softprompt.tune")
        frozen_model.check_lm_head()
        if options.placement is not Placement.BEFORE:
            raise SettingError(
                f"SoftPromptModel does not support placement {str(options.placement)!r}, because the caller builds "
                "input_ids: use softprompt.tune"
            )
        if options.tasks:
            raise SettingError("SoftPromptModel trains one task: use softprompt.tune to train several tasks")
        prompt, _ = build_prompt(options, frozen_model, DEFAULT_INIT_TEXT)
        return cls(frozen_model, prompt, {"name": options.method, "init": options.init})

    def add_prompt(self, name: str, saved_prompt: SavedPrompt) -> None:
        """Load a saved prompt under a name and make it the active one.

        Raises:
            BaseModelMismatch: the prompt was trained for another base model.
            SettingError: the placement of the prompt is not `before`.
        """
        payload = saved_prompt.compile_for(self.frozen_model)
        if payload.placement is not Placement.BEFORE:
            raise SettingError(
                f"prompt {name!r} has placement {str(payload.placement)!r}, but SoftPromptModel supports only "
                "'before', because the caller builds input_ids: use softprompt.evaluate"
            )
        self._loaded_prompts[name] = payload
        self.active_prompt = name

    def remove_prompt(self, name: str) -> None:
        """Unload a prompt. If it was the active prompt, no prompt is active afterwards."""
        self._get_payload(name)
        del self._loaded_prompts[name]
        self.active_prompt = None if self.active_prompt == name else self.active_prompt

    @contextmanager
    def disable_prompt(self) -> Iterator[None]:
        """Run the bare base model, without any prompt, inside the `with` block."""
        previous, self._is_disabled = self._is_disabled, True
        try:
            yield
        finally:
            self._is_disabled = previous

    def forward(
        self,
        input_ids: Int[Tensor, "B T"] | None = None,
        attention_mask: Shaped[Tensor, "B S"] | None = None,
        labels: Int[Tensor, "B T"] | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = False,
        prompts: Sequence[str | None] | None = None,
        num_items_in_batch: Tensor | int | None = None,
        inputs_embeds: Float[Tensor, "B T E"] | None = None,
        logits_to_keep: int = 0,
    ) -> CausalLMOutputWithPast:
        """Return logits `[B, T, V]` aligned with `input_ids`, and the loss if labels are given.

        Args:
            input_ids: token ids `[B, T]`, padded on either side.
            attention_mask: 0 at padding; covers the T new tokens, or all tokens of a continued conversation.
            labels: token ids `[B, T]`, -100 at ignored positions; shifted here, as transformers does.
            past_key_values: cache that an earlier call returned; it contains the prompt already.
            use_cache: return a cache.
            prompts: name of a loaded prompt for each sequence; None is the bare base model.
            num_items_in_batch: number that `Trainer` divides the loss by under gradient accumulation.
            inputs_embeds: text embeddings `[B, T, E]`, instead of `input_ids`.
            logits_to_keep: number of last tokens to compute logits for; 0 for all.

        Raises:
            SettingError: `past_key_values` was not made by this model, a prompt is not loaded, or not exactly one of
                `input_ids` and `inputs_embeds` is given.
        """
        ids, embeddings = self._resolve_inputs(input_ids, inputs_embeds)
        B, T = ids.shape
        mask = torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask[:, -T:].bool()
        past = self._resolve_past_state(past_key_values, prompts, B, growable=bool(use_cache))
        hidden = self.frozen_model.forward_with_past(ids, mask, past, inputs_embeds=embeddings)
        logits = self.frozen_model.compute_logits(hidden[:, -logits_to_keep:])
        loss = None if labels is None else self._compute_loss(logits, labels, num_items_in_batch)
        kv_cache = past.extend_mask(mask).kv_cache
        cache = kv_cache if isinstance(kv_cache, PromptedDynamicCache) else None
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=cache)

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | None = None,
        attention_mask: Tensor | GenerationConfig | None = None,
        prompts: Sequence[str | None] | None = None,
        *,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Any:
        """Generate with transformers' own `generate`, each sequence after its prompt.

        Virtual tokens do not count in `max_length`. Penalties, processors, stopping criteria and streamers do not see
        them.

        Args:
            inputs: token ids `[B, T]`, padded on either side.
            attention_mask: `[B, T]`, 0 at padding. (transformers has `generation_config` in this position.)
            prompts: name of a loaded prompt for each sequence; None is the bare base model.
            input_ids: alias of `inputs`.
            inputs_embeds: text embeddings `[B, T, E]`, instead of `inputs`.
            generation_config: options that replace the model's `generation_config`.
            seed: random seed; None draws from torch's global generator.
            options: options of transformers' `generate`: `max_new_tokens` (default 128), `do_sample`, `num_beams`,
                `streamer` and so on. A `temperature` above 0 implies `do_sample=True`.

        Returns:
            Token ids `[B, T + …]`: `inputs` followed by the responses; shorter responses are filled with the pad token.
            With `return_dict_in_generate=True`, transformers' output object.

        Raises:
            SettingError: an option is unknown or not supported with prompts.
        """
        if isinstance(attention_mask, GenerationConfig):
            attention_mask, generation_config = None, attention_mask
        config = generation_config or self.generation_config
        pad_token_id = options.get("pad_token_id", config.pad_token_id)
        if pad_token_id in self.frozen_model.eos_token_ids:
            pad_token_id = None  # EOS does not tell padding from text
        generation_inputs = GenerationInputs.from_arguments(
            inputs if input_ids is None else input_ids, inputs_embeds, attention_mask, pad_token_id, self.device
        )
        check_prompt_count(prompts, len(generation_inputs.tensor))
        network = copy.copy(self.frozen_model.network)
        network.generation_config = self.generation_config
        return hf_generate.generate_with_prompts(
            network, self.forward, generation_inputs, prompts, generation_config, options, seed
        )

    @torch.no_grad()
    def save_pretrained(self, folder: str | Path, task: Task | None = None, *, overwrite: bool = False) -> None:
        """Save the prompt being trained as a saved prompt, which is also a peft adapter if peft can express it.

        Args:
            folder: output folder.
            task: task that the manifest records; None for generation with the default template.
            overwrite: replace an existing folder.

        Raises:
            SettingError: no prompt is being trained.
            OutputExists: the folder exists and `overwrite` is False.
        """
        if self.prompt is None:
            raise SettingError("no prompt is being trained: create one with SoftPromptModel.from_pretrained")
        saved = SavedPrompt.from_payload(
            self.frozen_model,
            self.prompt(),
            task or GenerationTask(),
            method=self.method,
            trained_parameters=self.prompt.num_parameters,
        )
        saved.save_to(folder, overwrite=overwrite)

    def _resolve_inputs(
        self, input_ids: Int[Tensor, "B T"] | None, embeddings: Float[Tensor, "B T E"] | None
    ) -> tuple[Int[Tensor, "B T"], Float[Tensor, "B T E"]]:
        """Return token ids and text embeddings; the ids are zeros if only embeddings are given."""
        if (input_ids is None) == (embeddings is None):
            raise SettingError("`SoftPromptModel` needs exactly one of `input_ids` and `inputs_embeds`")
        if embeddings is None:
            assert input_ids is not None
            return input_ids, self._text_embeddings(input_ids)
        return torch.zeros(embeddings.shape[:2], dtype=torch.long, device=embeddings.device), embeddings

    def _resolve_past_state(
        self, cache: Any, prompts: Sequence[str | None] | None, batch_size: int, *, growable: bool
    ) -> PastState:
        if cache is None:
            return self.frozen_model.make_past_state(
                self._select_payloads(prompts, batch_size), batch_size, growable=growable
            )
        if not isinstance(cache, PromptedDynamicCache):
            raise SettingError(
                f"past_key_values is a {type(cache).__name__}, which does not contain the prompt: "
                "pass the cache that an earlier call with use_cache=True returned, or None"
            )
        return PastState(cache, cache.attention_mask)

    def _select_payloads(
        self, prompts: Sequence[str | None] | None, batch_size: int
    ) -> Payload | list[Payload | None] | None:
        if self._is_disabled:
            return None
        if prompts is not None:
            check_prompt_count(prompts, batch_size)
            return [None if name is None else self._get_payload(name) for name in prompts]
        if self.active_prompt is not None:
            return self._get_payload(self.active_prompt)
        return None if self.prompt is None else self.frozen_model.compile_payload(self.prompt())

    def _get_payload(self, name: str) -> Payload:
        if name not in self._loaded_prompts:
            raise SettingError(f"prompt {name!r} is not loaded (loaded: {', '.join(self._loaded_prompts) or 'none'})")
        return self._loaded_prompts[name]

    def _compute_loss(
        self, logits: Float[Tensor, "B T V"], labels: Tensor, num_items_in_batch: Tensor | int | None
    ) -> Tensor:
        items = {} if num_items_in_batch is None else {"num_items_in_batch": num_items_in_batch}
        loss: Tensor = self.frozen_model.network.loss_function(
            logits=logits, labels=labels, vocab_size=self.frozen_model.shape.vocab_size, **items
        )
        return loss


def check_prompt_count(prompts: Sequence[str | None] | None, batch_size: int) -> None:
    """Check that `prompts` has one entry for each sequence.

    Raises:
        SettingError: the number of prompts differs from the batch size.
    """
    if prompts is not None and len(prompts) != batch_size:
        raise SettingError(f"{len(prompts)} prompts for {batch_size} sequences: pass one name per sequence, or None")
