"""The model's `forward` and `generate`, each row behind a prompt.

Hugging Face's `Trainer` takes it with an unchanged collator. Its parameters and its state dict are the prompt's alone.
It does not know tasks: input ids and labels come from whoever calls.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from softprompt.errors import SettingError
from softprompt.model import CausalModel, FrozenModel, Past, Payload, Placement, PromptedCache, load_model
from softprompt.prompts import PromptOptions, SoftPrompt, build_prompt
from softprompt.saved import SavedPrompt
from softprompt.tasks import GenerationTask, Task
from softprompt.wrapper import generation
from softprompt.wrapper.continued_text import ContinuedText
from softprompt.wrapper.pad_token import give_pad_token
from softprompt.wrapper.text_embeddings import TextEmbeddings

START_TEXT = "Read the text carefully and go on with it as is right, complete and in good style.\n\n"


class SoftPromptModel(nn.Module):
    """The model's `forward` and `generate`, each row behind a prompt.

    Attributes:
        frozen: the base model; no submodule, so its weights are neither trained, nor saved, nor moved.
        prompt: the prompt being trained, or None where saved ones are only used.
        active: the name of the saved prompt that rows stand behind unless the call says otherwise.
        generation_config: what `generate` does where a call says nothing else; the base model's own to begin with.
    """

    main_input_name = "input_ids"
    input_modalities = output_modalities = ("text",)
    supports_gradient_checkpointing = True
    is_activation_checkpointing = False

    def __init__(self, frozen: CausalModel, prompt: SoftPrompt | None = None, method: dict[str, Any] | None = None):
        super().__init__()
        self._frozen = (frozen,)  # in a tuple: nn.Module must not register the base's parameters as its own
        self.prompt = prompt
        self.method = method or {}
        self.active: str | None = None
        self._disabled = False
        self._loaded: dict[str, Payload] = {}
        self._text_embeddings = TextEmbeddings(frozen)
        self.generation_config = generation.default_config(frozen)
        give_pad_token(frozen)

    @classmethod
    def from_pretrained(
        cls, name: str, *, device: str = "auto", dtype: str = "auto", **options: Any
    ) -> SoftPromptModel:
        """A base model by name or path with a new prompt in front, to be trained.

        Args:
            name: as for `load_model`.
            device: as for `load_model`.
            dtype: as for `load_model`.
            options: as in `PromptOptions`; `init="prompt:FOLDER"` goes on from a saved prompt.

        Raises:
            SettingError: an option that cannot be.
        """
        frozen = load_model(name, device=device, dtype=dtype)
        return cls.around(frozen, PromptOptions(**options))

    @classmethod
    def around(cls, frozen: FrozenModel, options: PromptOptions) -> SoftPromptModel:
        """A loaded model with a new prompt in front.

        Raises:
            SettingError: the model is not causal, the prompt would stand inside the rows, or each of several tasks'
                rows would need their own.
            IncompleteModel: the model has no word head.
        """
        if not isinstance(frozen, CausalModel):
            raise SettingError(f"{frozen.name} is not a causal model: tune it with softprompt.tune")
        frozen.check_word_head()
        if options.placement is not Placement.BEFORE:
            raise SettingError(f"placement {options.placement}: here the caller lays out the rows; use softprompt.tune")
        if options.tasks:
            raise SettingError("here no row says which task it is of: learn several tasks with softprompt.tune")
        prompt, _ = build_prompt(options, frozen, START_TEXT)
        return cls(frozen, prompt, {"name": options.method, "init": options.init})

    @property
    def frozen(self) -> CausalModel:
        """The base model."""
        return self._frozen[0]

    @property
    def config(self) -> Any:
        """The base model's configuration."""
        return self.frozen.network.config

    @property
    def device(self) -> torch.device:
        """Where the base model is."""
        return self.frozen.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the base model."""
        return self.frozen.dtype

    @property
    def name_or_path(self) -> str:
        """What the base model was loaded as."""
        return self.frozen.name

    def can_generate(self) -> bool:
        """It can."""
        return True

    def get_input_embeddings(self) -> nn.Module:
        """What embeds the text, virtual tokens apart; hooks on it change what is trained on and what is answered."""
        return self._text_embeddings

    def add_prompt(self, name: str, saved: SavedPrompt) -> None:
        """Load a saved prompt under a name and make it the active one.

        Raises:
            WrongBaseModel: it is for another base model.
            SettingError: it stands inside the rows, which the caller lays out.
        """
        payload = saved.bound(self.frozen)
        if payload.placement is not Placement.BEFORE:
            raise SettingError(f"{name} stands {payload.placement}: here the caller lays out the rows; use evaluate")
        self._loaded[name] = payload
        self.active = name

    def remove_prompt(self, name: str) -> None:
        """Forget a loaded prompt; if it was the active one, none is."""
        self._named(name)
        del self._loaded[name]
        self.active = None if self.active == name else self.active

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Inside, the model is the bare base, exactly."""
        before, self._disabled = self._disabled, True
        try:
            yield
        finally:
            self._disabled = before

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
        """Logits `[B, T, V]` that align with `input_ids`, and the loss if there are labels.

        Args:
            input_ids: padded on either side.
            attention_mask: 0 at padding; of the T new tokens, or of all tokens of a continued conversation.
            labels: -100 where nothing is to be learnt; shifted here, as transformers does.
            past_key_values: what an earlier call returned, to go on from. The prompt is in it already.
            use_cache: return one.
            prompts: a loaded prompt's name for each row; None is the bare base.
            num_items_in_batch: what `Trainer` divides the loss by under gradient accumulation.
            inputs_embeds: the text embedded, instead of its ids.
            logits_to_keep: of how many tokens at the end to give logits; 0 for all.

        Raises:
            SettingError: a cache that this model did not make, a prompt that is not loaded, or not exactly one of
                `input_ids` and `inputs_embeds`.
        """
        ids, embeddings = self._text(input_ids, inputs_embeds)
        B, T = ids.shape
        mask = torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask[:, -T:].bool()
        past = self._past(past_key_values, prompts, B, grow=bool(use_cache))
        hidden = self.frozen.advance(ids, mask, past, embeddings=embeddings)
        logits = self.frozen.logits(hidden[:, -logits_to_keep:])
        loss = None if labels is None else self._loss(logits, labels, num_items_in_batch)
        grown = past.behind(mask).cache
        cache = grown if isinstance(grown, PromptedCache) else None
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
        """What transformers' own `generate` gives, each row behind its prompt.

        Virtual tokens are no tokens: they do not count in `max_length`, and no penalty, processor, criterion or
        streamer sees them.

        Args:
            inputs: `[B, T]` ids, padded on either side.
            attention_mask: `[B, T]`, 0 at padding. (transformers has `generation_config` in this place.)
            prompts: a loaded prompt's name for each row; None is the bare base.
            input_ids: another name of `inputs`.
            inputs_embeds: `[B, T, E]`, the text embedded, instead of its ids.
            generation_config: instead of the model's own.
            seed: of what is drawn; without it, torch's own random numbers are.
            options: as in transformers' `generate`: `max_new_tokens` (128 where nothing says how many), `do_sample`,
                `num_beams`, `streamer` and so on. A `temperature` above 0 by itself means `do_sample=True`.

        Returns:
            `[B, T + …]`: `inputs` with the responses behind them, those that end early filled up with the pad token;
            or with `return_dict_in_generate=True` what transformers gives then.

        Raises:
            SettingError: an option that is none, or that goes with no prompt.
        """
        if isinstance(attention_mask, GenerationConfig):
            attention_mask, generation_config = None, attention_mask
        config = generation_config or self.generation_config
        pad = options.get("pad_token_id", config.pad_token_id)
        pad = None if pad in self.frozen.eos_token_ids else pad  # then it tells no padding from text
        text = ContinuedText.of(
            inputs if input_ids is None else input_ids, inputs_embeds, attention_mask, pad, self.device
        )
        check_prompts(prompts, len(text.tensor))
        network = copy.copy(self.frozen.network)
        network.generation_config = self.generation_config
        return generation.generate(network, self.forward, text, prompts, generation_config, options, seed)

    def activation_checkpointing_enable(self, **_: Any) -> None:
        """As `Trainer` calls it; works with prefixes, since the layers keep their past."""
        self.frozen.checkpoint_gradients()
        self.is_activation_checkpointing = True

    def gradient_checkpointing_enable(self, **_: Any) -> None:
        """Its former name, which transformers called until 5.23."""
        self.activation_checkpointing_enable()

    @torch.no_grad()
    def save_pretrained(self, folder: str | Path, task: Task | None = None, *, overwrite: bool = False) -> None:
        """Write the prompt being trained as a saved prompt: a peft adapter where peft can express it.

        Raises:
            SettingError: nothing is being trained.
            OutputExists: the folder is taken.
        """
        if self.prompt is None:
            raise SettingError("no prompt is being trained: make one with SoftPromptModel.from_pretrained")
        saved = SavedPrompt.make(
            self.frozen,
            self.prompt(),
            task or GenerationTask(),
            method=self.method,
            trained_parameters=self.prompt.num_parameters,
        )
        saved.write(folder, overwrite=overwrite)

    def _text(
        self, input_ids: Int[Tensor, "B T"] | None, embeddings: Float[Tensor, "B T E"] | None
    ) -> tuple[Int[Tensor, "B T"], Float[Tensor, "B T E"]]:
        """A text's ids and embeddings; without ids, there are any in their place."""
        if (input_ids is None) == (embeddings is None):
            raise SettingError("`SoftPromptModel` needs `input_ids` or `inputs_embeds`, one of the two")
        if embeddings is None:
            assert input_ids is not None
            return input_ids, self._text_embeddings(input_ids)
        return torch.zeros(embeddings.shape[:2], dtype=torch.long, device=embeddings.device), embeddings

    def _past(self, cache: Any, prompts: Sequence[str | None] | None, num_rows: int, *, grow: bool) -> Past:
        if cache is None:
            return self.frozen.stand_behind(self._payloads(prompts, num_rows), num_rows, grow=grow)
        if not isinstance(cache, PromptedCache):
            raise SettingError(
                f"past_key_values is a {type(cache).__name__} that knows nothing of the prompt: "
                "pass what an earlier call with use_cache=True returned, or nothing"
            )
        return Past(cache, cache.mask)

    def _payloads(self, prompts: Sequence[str | None] | None, num_rows: int) -> Payload | list[Payload | None] | None:
        if self._disabled:
            return None
        if prompts is not None:
            check_prompts(prompts, num_rows)
            return [None if name is None else self._named(name) for name in prompts]
        if self.active is not None:
            return self._named(self.active)
        return None if self.prompt is None else self.frozen.compile(self.prompt())

    def _named(self, name: str) -> Payload:
        if name not in self._loaded:
            raise SettingError(f"no prompt {name!r} is loaded: {', '.join(self._loaded) or 'none is'}")
        return self._loaded[name]

    def _loss(self, logits: Float[Tensor, "B T V"], labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
        items = {} if num_items_in_batch is None else {"num_items_in_batch": num_items_in_batch}
        loss: Tensor = self.frozen.network.loss_function(
            logits=logits, labels=labels, vocab_size=self.frozen.shape.vocab_size, **items
        )
        return loss


def check_prompts(prompts: Sequence[str | None] | None, num_rows: int) -> None:
    """Whether there is a name for each row, or none is said at all.

    Raises:
        SettingError: there are more or fewer.
    """
    if prompts is not None and len(prompts) != num_rows:
        raise SettingError(f"{len(prompts)} prompts for {num_rows} rows: name one for each, or none at all")
