"""The API method: the hard prompt, sent to a model behind an API. Nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.comparison.comparison_folder import REPLIES_FOLDER
from softprompt.comparison.experiment.compare_settings import CompareSettings
from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.methods.adaptation_method import AdaptationMethod, FitConfig
from softprompt.comparison.methods.api.api_fitted_model import ApiFittedModel
from softprompt.comparison.methods.api.task_prompter import create_prompter
from softprompt.comparison.methods.fitted_model import FittedModel
from softprompt.errors import SettingError
from softprompt.model_api.api_endpoint import ApiEndpoint
from softprompt.model_api.client_factory import create_chat_client
from softprompt.model_api.request_limits import RequestLimits
from softprompt.training import TrainerCallback


class ApiMethod(AdaptationMethod):
    """The hard prompt with a model behind an OpenAI-compatible API."""

    kind, is_trained, is_stochastic, is_local = MethodKind.API, False, False, False

    def __init__(self, argument: str | None = None, limits: RequestLimits | None = None):
        self.model, self.limits = argument or None, limits or RequestLimits()
        self.title = f"hard prompt through an API{f': {argument}' if argument else ''}"

    def get_cache_key_settings(self, experiment: Experiment) -> Mapping[str, Any]:
        """Return the URL and the model."""
        settings = experiment.settings
        return {"base_url": settings.base_url, "model": self.model or settings.api_model}

    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:  # noqa: ARG002
        """Create the client, without sending a request: the first request shows whether key and model are valid.

        Raises:
            SettingError: the model or the key is missing, the URL is invalid, or openai is not installed.
            TaskError: the task cannot be expressed as a conversation.
        """
        prompter, model = create_prompter(experiment.task), self._resolve_model(experiment.settings)
        endpoint = ApiEndpoint.from_base_url(experiment.settings.base_url)
        client = create_chat_client(endpoint, model, experiment.settings.output / REPLIES_FOLDER, self.limits)
        return ApiFittedModel(client, prompter, stored_bytes=len(experiment.task.template.encode()))

    def _resolve_model(self, settings: CompareSettings) -> str:
        model = self.model or settings.api_model
        if model is None:
            raise SettingError('`methods=["api"]`: no model: set `api_model`, or pass `methods=["api:MODEL"]`')
        return model
