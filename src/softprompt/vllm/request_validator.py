"""Rejects requests in vLLM's HTTP process, where the client still gets the reason.

vLLM lets a logits processor validate a request's parameters in that process; this one has no other purpose. A logger of
statistics is the plugin's only access to vLLM's configuration there; this one logs nothing.
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
    """Logits processor that rejects requests whose prompt cannot be served, and leaves the logits unchanged.

    Attributes:
        prompt_validator: validates the prompts of this server; None without the connector.
    """

    prompt_validator: ClassVar[PromptValidator | None] = None

    def __init__(self, *_: Any):
        """Accept the arguments of both of vLLM's model runners."""

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Validate the prompt of a request.

        Raises:
            VLLMValidationError: the request is rejected, with HTTP 400.
        """
        parameters = (sampling_params.extra_args or {}).get("kv_transfer_params")
        if not parameters or (
            isinstance(parameters, dict) and PLUGIN_NAME not in parameters and not cls._is_connector_configured()
        ):
            return  # parameters of another connector
        if not cls._is_connector_configured():
            raise VLLMValidationError(
                f"this server cannot serve prompts: start it with {CONNECTOR_NAME} as its KV connector"
            )
        try:
            params = parse_kv_transfer_params(parameters)
            assert params is not None
            cls._validate_prompt_params(params, sampling_params)
        except SoftPromptError as error:
            raise VLLMValidationError(format_plugin_error(error)) from error

    @classmethod
    def _is_connector_configured(cls) -> bool:
        # vLLM imports the module of a connector only if the connector is configured.
        return cls.prompt_validator is not None or CONNECTOR_MODULE in sys.modules

    @classmethod
    def _validate_prompt_params(cls, params: PromptTransferParams, sampling_params: Any) -> None:
        if sampling_params.prompt_logprobs is not None or sampling_params.skip_reading_prefix_cache:
            raise SettingError("`prompt_logprobs` is not supported: positions of a prefix have no log-probabilities")
        if cls.prompt_validator is not None:
            cls.prompt_validator.validate_params(params)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:  # noqa: ARG002
        """Return False: no request's logits change."""
        return False

    def is_argmax_invariant(self) -> bool:
        """Return True: the logits never change."""
        return True

    def update_state(self, batch_update: Any) -> None:
        """Do nothing: there is no state."""

    def apply(self, logits: Any, ctx: Any = None) -> Any:  # noqa: ARG002
        """Return the logits unchanged."""
        return logits


class ConfigListener(StatLoggerBase):
    """Statistics logger that receives vLLM's configuration once the engine is ready, for the request validator."""

    def __init__(self, vllm_config: Any, engine_index: int = 0):  # noqa: ARG002
        transfer = vllm_config.kv_transfer_config
        if (
            transfer is not None
            and transfer.kv_connector == CONNECTOR_NAME
            and RequestValidator.prompt_validator is None
        ):
            config = read_plugin_config(vllm_config)
            RequestValidator.prompt_validator = PromptValidator(
                PrefixLoader(config.artifact_location, read_served_model(vllm_config, config))
            )

    def record(self, *_: Any, **__: Any) -> None:
        """Do nothing: the plugin logs no statistics here."""

    def log_engine_initialized(self) -> None:
        """Do nothing."""
