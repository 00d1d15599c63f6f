"""Few-shot prompting without training: examples with their answers before the template.

Brown et al. 2020, arXiv 2005.14165. The choice and the order of the examples matter much (Lu et al. 2022, arXiv
2104.08786). So each seed makes as many draws as other methods try learning rates, and keeps
the draw that is best on the validation examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.experiment.stratified_sample import draw_stratified_subset
from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.methods.adaptation_method import AdaptationMethod, FitConfig
from softprompt.comparison.methods.fitted_model import FittedModel
from softprompt.comparison.methods.local_fitted_model import LocalFittedModel
from softprompt.comparison.methods.method_argument import parse_count
from softprompt.data import Example, ExampleDataset
from softprompt.errors import SettingError, TaskError
from softprompt.evaluation.batch_inference import compute_metrics
from softprompt.model import Payload, Placement, PromptEmbeddings
from softprompt.tasks import ClassificationTask, FewShotContext, GenerationTask, Objective
from softprompt.training import TrainerCallback

DEFAULT_NUM_SHOTS = 8


class FewShotPrompt(AdaptationMethod):
    """A few-shot prompt, `few-shot:K`: K examples, balanced over the labels."""

    kind, is_trained = MethodKind.PROMPTING, False

    def __init__(self, argument: str | None = None):
        """Parse K.

        Raises:
            SettingError: K is not a positive integer.
        """
        self.num_shots = parse_count("few-shot", argument, DEFAULT_NUM_SHOTS, "the number of examples")
        self.title = f"{self.num_shots} examples in the prompt"

    def get_cache_key_settings(self, experiment: Experiment) -> Mapping[str, Any]:
        """Return the number of draws."""
        return {"draws": experiment.settings.trials}

    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:  # noqa: ARG002
        """Make several draws and keep the best one on the validation examples."""
        if self.num_shots > len(config.examples):
            raise SettingError(f"few-shot:{self.num_shots}: there are {len(config.examples)} examples to choose from")
        if self.num_shots == len(config.examples) and experiment.settings.seeds > 1:
            raise SettingError(
                f"few-shot:{self.num_shots} uses all training examples, so {experiment.settings.seeds} seeds do not "
                "differ: choose fewer examples"
            )
        draws = experiment.settings.trials
        fits = [self._fit_draw(experiment, config.examples, config.seed * draws + draw) for draw in range(draws)]
        usable = [fitted for fitted in fits if fitted is not None]
        if not usable:
            raise SettingError(
                f"few-shot:{self.num_shots}: the examples fill more than half of the context window: choose fewer"
            )
        return max(usable, key=lambda fitted: _compute_selection_key(fitted, experiment.validation))

    def _fit_draw(self, experiment: Experiment, examples: ExampleDataset, rng_stream: int) -> LocalFittedModel | None:
        """Fit one draw; None if the examples fill more than half of the context window."""
        ids = self._encode_shots(
            experiment, draw_stratified_subset(examples, self.num_shots, rng_stream, experiment.task)
        )
        if len(ids) > experiment.model.shape.window // 2:
            return None
        payload, size = self._compile_prompt(experiment, ids)
        objective = experiment.task.build_objective(
            experiment.model, experiment.model.shape.window - payload.num_positions
        )
        return LocalFittedModel(
            objective, payload, stored_bytes=size, supports_mixed_batches=True, num_request_tokens=len(ids)
        )

    def _encode_shots(self, experiment: Experiment, shots: Sequence[Example]) -> list[int]:
        """Encode the examples with their answers, without placeholders of virtual tokens."""
        task = experiment.task
        if not isinstance(task, ClassificationTask | GenerationTask):
            raise TaskError(f"few-shot is not supported for {task.kind}: its examples do not end in an answer")
        shown = FewShotContext.from_demonstrations(
            [task.encode_demonstration(experiment.model, example) for example in shots]
        )
        return [i for i in shown.token_ids if i >= 0]

    @torch.no_grad()
    def _compile_prompt(self, experiment: Experiment, ids: list[int]) -> tuple[Payload, int]:
        """Compile the examples to a payload; also return the size of the examples and the template as text."""
        model = experiment.model
        placement = Placement.BEFORE if model.prompt_tokenizer.bos_token_id is None else Placement.AFTER_BOS
        embedded = model.embed_tokens(torch.tensor([ids], device=model.device))[0].float()
        text = str(model.tokenizer.decode(ids)) + experiment.task.template
        return model.compile_payload(PromptEmbeddings(embedded, placement)), len(text.encode())


def _compute_selection_key(fitted_model: LocalFittedModel, validation: ExampleDataset) -> tuple[float, ...]:
    objective: Objective = fitted_model.objective
    encoded = [objective.encode_example(example) for example in validation]
    return objective.selection_key(compute_metrics(objective, fitted_model.payload, encoded))
