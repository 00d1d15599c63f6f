"""The training of a prefix on a teacher's targets: from its initial values to the step that is kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.distilled_prefix import DistilledPrefix
from softprompt.distillation.initial_prefix import PrefixInitContext, select_initializer
from softprompt.distillation.reference_objective import DistillationObjectives, build_distillation_objective
from softprompt.distillation.targeted_inputs import TargetedInputs
from softprompt.model import KVPrefix
from softprompt.prompts.spread_cache import get_kv_spread
from softprompt.training.callbacks import TrainerCallback
from softprompt.training.optimizer import ScheduledOptimizer
from softprompt.training.prompt_trainable import PromptTrainable
from softprompt.training.recorder import RunRecorder
from softprompt.training.trainer import Trainer, TrainOutcome

logger = logging.getLogger(__name__)

DEFAULT_LEARNING_RATE = 0.01  # in units of the spread of keys and values over tokens


@dataclass(frozen=True)
class PrefixTraining:
    """Training of a prefix.

    Attributes:
        setup: Settings, text, model, task and encoded inputs.
        inputs: Inputs with the teacher's targets.
        prompt: Prefix to train.
        initial_parameters: Parameters of the prefix before the first step.
        objective: Divergence from the teacher.
        trainer: Trainer of the prefix.
    """

    setup: DistillSetup
    inputs: TargetedInputs
    prompt: DistilledPrefix
    initial_parameters: Mapping[str, Tensor]
    objective: DistillationObjectives
    trainer: Trainer

    @classmethod
    def start(
        cls, setup: DistillSetup, inputs: TargetedInputs, recorder: RunRecorder, callback: TrainerCallback
    ) -> PrefixTraining:
        """Initialize the prefix, load the recorder's checkpoint if it has one, and evaluate the initial prefix.

        Raises:
            CheckpointError: The checkpoint is damaged, or from another run.
        """
        settings, model = setup.settings, setup.model
        initialize = select_initializer(settings.init, model)
        initial_value = initialize(
            PrefixInitContext(model, setup.context, inputs.train, int(settings.num_virtual_tokens), settings.seed)
        )
        logger.info("the prefix starts from %s", initial_value.description)
        prompt = DistilledPrefix(initial_value, get_kv_spread(model), setup.context.prefix.placement).to(model.device)
        initial_parameters = {name: tensor.clone() for name, tensor in prompt.state_dict().items()}
        objective = build_distillation_objective(setup, inputs)
        trainable = PromptTrainable(prompt)
        optimizer = ScheduledOptimizer.from_settings(settings, trainable, get_learning_rate(setup))
        trainer = Trainer(objective, trainable, inputs, inputs.validation, settings, optimizer, recorder, callback)
        trainer.evaluate_before_training()
        return cls(setup, inputs, prompt, initial_parameters, objective, trainer)

    def restore_best(self, outcome: TrainOutcome) -> tuple[int | None, Mapping[str, float]]:
        """Restore the best prefix, the initial one included, and return its step and metrics."""
        best, initial_metrics = outcome.state.best, outcome.state.initial_metrics or {}
        key = self.objective.selection_key
        if best is not None and (not initial_metrics or key(best.metrics) > key(initial_metrics)):
            self.prompt.load_state_dict(best.parameters)
            return best.step, best.metrics
        if not initial_metrics and not outcome.diverged:  # no validation inputs: the last step
            return None, {}
        self.prompt.load_state_dict(self.initial_parameters)
        if outcome.state.step:
            logger.warning("no step is better than the initial prefix, which is kept: try another `learning_rate`")
        return 0, initial_metrics

    @torch.no_grad()
    def compile_prefix(self) -> KVPrefix:
        """Compile the prefix as it is."""
        prefix = self.setup.model.compile_payload(self.prompt())
        assert isinstance(prefix, KVPrefix)
        return prefix

    def compile_initial_prefix(self) -> KVPrefix:
        """Compile the prefix as it was before the first step."""
        parameters = {name: tensor.clone() for name, tensor in self.prompt.state_dict().items()}
        self.prompt.load_state_dict(self.initial_parameters)
        prefix = self.compile_prefix()
        self.prompt.load_state_dict(parameters)
        return prefix


def get_learning_rate(setup: DistillSetup) -> float:
    """Return the peak learning rate of a run."""
    return setup.settings.learning_rate or DEFAULT_LEARNING_RATE
