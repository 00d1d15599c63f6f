"""The components of a server, and the resolution of a request's `model`."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import PurePath
from typing import cast

from transformers import PreTrainedTokenizerFast

from softprompt.model import FrozenModel
from softprompt.registry import PromptRegistry, PromptVersion
from softprompt.sampling.grammar import GuidanceCompiler
from softprompt.sampling.grammar_checker import GrammarChecker
from softprompt.server.auth.authenticator import Authenticator
from softprompt.server.backends.engine_backend import EngineBackend
from softprompt.server.backends.inference_backend import BackendFactory, InferenceBackend
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.server.concurrency.event_loop_scheduler import EventLoopScheduler
from softprompt.server.concurrency.python_time_budget import (
    SHARE_BESIDE_MODEL,
    SHARE_WITHOUT_MODEL,
    PythonTimeBudget,
)
from softprompt.server.concurrency.tenant_rate_limiter import TenantRateLimiter
from softprompt.server.generation.async_grammar_compiler import AsyncGrammarCompiler
from softprompt.server.generation.logprobs_formatter import LogprobsFormatter
from softprompt.server.generation.prompt_renderer import PromptRenderer
from softprompt.server.generation.response_builder import ResponseBuilder
from softprompt.server.prompts.prompt_cache import PromptCache
from softprompt.server.prompts.upload_validator import UploadValidator
from softprompt.server.prompts.usage_tracker import UsageTracker
from softprompt.server.server_config import ServerConfig
from softprompt.server.server_metrics import ServerMetrics


@dataclass(frozen=True)
class ResolvedModel:
    """The version that a request's `model` resolved to.

    Attributes:
        name: name in responses: a version such as `reviews@3`, or the base model's name.
        loaded_prompt: the loaded prompt; None for the base model without a prompt.
    """

    name: str
    loaded_prompt: LoadedPrompt | None


@dataclass(frozen=True)
class AppState:
    """The components of a server, shared by all requests.

    Attributes:
        served_model_name: name of the base model in requests and responses.
        started_at: start of the server, Unix time in seconds.
    """

    config: ServerConfig
    served_model_name: str
    model: FrozenModel
    registry: PromptRegistry
    authenticator: Authenticator
    rate_limiter: TenantRateLimiter
    backend: InferenceBackend
    prompt_cache: PromptCache
    upload_validator: UploadValidator
    prompt_renderer: PromptRenderer
    logprobs_formatter: LogprobsFormatter
    response_builder: ResponseBuilder
    grammar_compiler: AsyncGrammarCompiler
    metrics: ServerMetrics
    usage_tracker: UsageTracker
    loop_scheduler: EventLoopScheduler
    started_at: int

    @classmethod
    def from_config(
        cls,
        config: ServerConfig,
        model: FrozenModel,
        registry: PromptRegistry,
        backend_factory: BackendFactory = EngineBackend.from_config,
    ) -> AppState:
        """Create the components of a server.

        Args:
            config: configuration of the server.
            model: base model; without weights if the backend runs the model elsewhere.
            registry: registry of the prompts and API keys.
            backend_factory: creates the backend; by default the engine in this process.

        Raises:
            ModelNotSupported: the engine does not support the model.
        """
        metrics = ServerMetrics()
        backend = backend_factory(config, model, metrics)
        is_model_here = model.device.type != "meta"
        time_budget = PythonTimeBudget(SHARE_BESIDE_MODEL if is_model_here else SHARE_WITHOUT_MODEL)
        tokenizer = copy.deepcopy(model.tokenizer)  # never modified, unlike those of the worker and the renderer
        fast_tokenizer, checker = cast(PreTrainedTokenizerFast, tokenizer), GrammarChecker()
        compiler = GuidanceCompiler(fast_tokenizer, model.shape.vocab_size, model.eos_token_ids, checker)
        return cls(
            config=config,
            served_model_name=PurePath(model.name).name if model.name.startswith(("/", ".")) else model.name,
            model=model,
            registry=registry,
            authenticator=Authenticator(registry.api_keys if config.auth_enabled else None),
            rate_limiter=TenantRateLimiter(config.sequences_per_minute, config.max_parallel_sequences),
            backend=backend,
            prompt_cache=PromptCache(registry, model, backend, config.prompt_cache_bytes, metrics),
            upload_validator=UploadValidator(
                model, validate_prompt=backend.validate_prompt, verify_prompt=backend.verify_prompt
            ),
            prompt_renderer=PromptRenderer(
                model, min(config.max_model_len, model.shape.window), time_budget=time_budget
            ),
            logprobs_formatter=LogprobsFormatter(tokenizer),
            response_builder=ResponseBuilder(time_budget=time_budget),
            grammar_compiler=AsyncGrammarCompiler(compiler, time_budget=time_budget),
            metrics=metrics,
            usage_tracker=UsageTracker(),
            loop_scheduler=EventLoopScheduler(time_budget),
            started_at=int(time.time()),
        )

    @property
    def max_model_len(self) -> int:
        """Maximum positions of a sequence: prompt, text and response."""
        return self.backend.max_model_len

    @property
    def system_fingerprint(self) -> str:
        """Fingerprint of the base model's weights, in the format of OpenAI's `system_fingerprint`."""
        return "fp_" + (self.model.fingerprint.removeprefix("sha256:") or "unknown")

    async def resolve_version(self, name: str, tenant: str) -> PromptVersion | None:
        """Resolve a model name of a tenant to a version; None for the base model.

        Raises:
            UnknownModel: the tenant has no prompt of that name.
        """
        return None if name == self.served_model_name else await self.prompt_cache.resolve_version(name, tenant)

    async def resolve_model(self, name: str, tenant: str) -> ResolvedModel:
        """Resolve a model name of a tenant and load the prompt. The request keeps this version to its end.

        Raises:
            UnknownModel: the tenant has no prompt of that name.
            IncompatiblePrompt, UnusablePrompt: the prompt cannot be loaded.
        """
        version = await self.resolve_version(name, tenant)
        if version is None:
            return ResolvedModel(self.served_model_name, None)
        return ResolvedModel(str(version), await self.prompt_cache.get_prompt(version))
