"""What is asked before a request reaches vLLM's engine, where there is still somebody to tell why it is refused.

vLLM lets a plugin look at a request's parameters in the process that speaks HTTP: a logits processor may refuse them,
and this one does nothing else. What the server was started with vLLM tells a logger of statistics, which logs none.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from vllm.exceptions import VLLMValidationError
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcessor

from softprompt.errors import SettingError, SoftPromptError
from softprompt.vllm.plugin import CONNECTOR_MODULE
from softprompt.vllm.prefix_loader import PrefixLoader, PromptValidator
from softprompt.vllm.vllm_config import read_plugin_config, read_served_model
from softprompt.vllm_protocol import (
    CONNECTOR_NAME,
    PLUGIN_NAME,
    PromptTransferParams,
    format_plugin_error,
    parse_kv_transfer_params,
)


class RequestValidator(LogitsProcessor):
    """Refuses requests whose prompt cannot be served; leaves all logits as they are.

    Attributes:
        looked: the prompts of this server, or None: it has none, or does not say where they are.
    """

    prompt_validator: ClassVar[PromptValidator | None] = None

    def __init__(self, *_: Any):
        """Both of vLLM's model runners make one, each in its own way."""

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Look at a request.

        Raises:
            VLLMValidationError: it is refused; HTTP 400.
        """
        parameters = (sampling_params.extra_args or {}).get("kv_transfer_params")
        if not parameters or (
            isinstance(parameters, dict) and PLUGIN_NAME not in parameters and not cls._is_connector_configured()
        ):
            return  # another connector's affair
        if not cls._is_connector_configured():
            raise VLLMValidationError(
                f"this server serves no prompts: start it with {CONNECTOR_NAME} as its KV connector"
            )
        try:
            asked = parse_kv_transfer_params(parameters)
            assert asked is not None
            cls._validate_prompt_params(asked, sampling_params)
        except SoftPromptError as error:
            raise VLLMValidationError(format_plugin_error(error)) from error

    @classmethod
    def _is_connector_configured(cls) -> bool:
        return (
            cls.prompt_validator is not None or CONNECTOR_MODULE in sys.modules
        )  # vLLM imports a connector where it is configured

    @classmethod
    def _validate_prompt_params(cls, params: PromptTransferParams, sampling_params: Any) -> None:
        if sampling_params.prompt_logprobs is not None or sampling_params.skip_reading_prefix_cache:
            raise SettingError("a prompt's own log-probabilities cannot be asked for: there are none of a prefix")
        if cls.prompt_validator is not None:
            cls.prompt_validator.validate_params(params)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:  # noqa: ARG002
        """No request's logits are changed."""
        return False

    def is_argmax_invariant(self) -> bool:
        """It changes nothing."""
        return True

    def update_state(self, batch_update: Any) -> None:
        """It remembers nothing."""

    def apply(self, logits: Any, ctx: Any = None) -> Any:  # noqa: ARG002
        """The same logits."""
        return logits


class ConfigListener(StatLoggerBase):
    """Hears from vLLM what it was started with, once its engine is ready."""

    def __init__(self, vllm_config: Any, engine_index: int = 0):  # noqa: ARG002
        transfer = vllm_config.kv_transfer_config
        if (
            transfer is not None
            and transfer.kv_connector == CONNECTOR_NAME
            and RequestValidator.prompt_validator is None
        ):
            settings = read_plugin_config(vllm_config)
            RequestValidator.prompt_validator = PromptValidator(
                PrefixLoader(settings.artifact_location, read_served_model(vllm_config, settings))
            )

    def record(self, *_: Any, **__: Any) -> None:
        """What vLLM counts is its own affair."""

    def log_engine_initialized(self) -> None:
        """And so is what it logs."""
