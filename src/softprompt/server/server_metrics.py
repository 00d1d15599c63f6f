"""Prometheus metrics of the server, exported by `api/metrics_router.py`.

Tenants are a label, and Prometheus keeps every label value forever. So only the first `MAX_TENANT_LABELS` tenants have
a label value of their own; later tenants share one. Only requests with a valid key are counted by tenant.
"""

from __future__ import annotations

import threading

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
MAX_TENANT_LABELS = 1000
OTHER_TENANTS_LABEL = "(others)"  # not a valid tenant name

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_REQUEST_TIME_BUCKETS = (*_LATENCY_BUCKETS[4:], 120.0, 300.0, 600.0)
_BATCH_SIZE_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class ServerMetrics:
    """The metrics of one server, in a collector registry of their own. Thread-safe."""

    def __init__(self, max_tenant_labels: int = MAX_TENANT_LABELS) -> None:
        self.registry = CollectorRegistry()
        self._max_tenant_labels, self._labeled_tenants, self._lock = max_tenant_labels, set[str](), threading.Lock()
        self._time_to_first_token = self._create_histogram(
            "time_to_first_token_seconds", "Time from a request's arrival to its first token.", _LATENCY_BUCKETS
        )
        self._inter_token_latency = self._create_histogram(
            "inter_token_latency_seconds", "Time between two tokens of a sequence.", _LATENCY_BUCKETS
        )
        self._queue_time = self._create_histogram(
            "request_queue_time_seconds",
            "Time from a request's arrival until its sequence has a slot.",
            _LATENCY_BUCKETS,
        )
        self._request_time = self._create_histogram(
            "http_request_duration_seconds", "Duration of an HTTP request.", _REQUEST_TIME_BUCKETS, ("route", "status")
        )
        self._step_batch_size = self._create_histogram(
            "step_num_seqs", "Sequences in one engine step.", _BATCH_SIZE_BUCKETS
        )
        self._num_running = self._create_gauge(
            "num_requests_running", "Sequences that have a slot, or that were sent to replicas."
        )
        self._num_waiting = self._create_gauge("num_requests_waiting", "Sequences that wait for a slot.")
        self._token_count = self._create_counter(
            "tokens", "Prompt and completion tokens of a tenant.", ("tenant", "type")
        )
        self._prompt_swaps = self._create_counter(
            "prompt_version_changes",
            "Requests whose model name resolved to another version than in the previous request.",
        )
        self._cached_prompts = self._create_gauge("prompt_cache_entries", "Loaded prompts in the prompt cache.")
        self._cached_prompt_bytes = self._create_gauge("prompt_cache_bytes", "Size of the prompt cache.")
        self._prompt_lookups = self._create_counter(
            "prompt_cache_lookups", "Lookups of the prompt cache by result.", ("result",)
        )
        self._replica_up = self._create_gauge(
            "replica_up", "1 if a vLLM replica receives requests, else 0.", ("replica",)
        )
        self._replica_load = self._create_gauge(
            "replica_num_seqs", "Sequences of this gateway that a replica runs.", ("replica",)
        )
        self._replica_requests = self._create_counter(
            "replica_requests", "Requests to a replica by outcome.", ("replica", "outcome")
        )
        self._error_count = self._create_counter("errors", "Rejected and failed requests by error code.", ("code",))

    def observe_first_token(self, seconds: float) -> None:
        """Record the seconds from a request's arrival to its first token."""
        self._time_to_first_token.observe(seconds)

    def observe_inter_token(self, seconds: float) -> None:
        """Record the seconds between two tokens of a sequence."""
        self._inter_token_latency.observe(seconds)

    def observe_queue_time(self, seconds: float) -> None:
        """Record the seconds from a request's arrival until its sequence has a slot."""
        self._queue_time.observe(seconds)

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Record a finished HTTP request.

        Args:
            route: pattern of the route, such as `/v1/prompts/{name}/activate`; never the client's path.
            status: status code of the response.
            seconds: duration of the request.
        """
        self._request_time.labels(route, str(status)).observe(seconds)

    def observe_step(self, batch_size: int) -> None:
        """Record the number of sequences in an engine step."""
        self._step_batch_size.observe(batch_size)

    def set_load(self, num_running: int, num_waiting: int) -> None:
        """Set the numbers of running and waiting sequences."""
        self._num_running.set(num_running)
        self._num_waiting.set(num_waiting)

    def count_tokens(self, tenant: str, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Count prompt and completion tokens of a tenant."""
        label = self._get_tenant_label(tenant)
        for token_type, count in (("prompt", prompt_tokens), ("completion", completion_tokens)):
            if count:
                self._token_count.labels(label, token_type).inc(count)

    def count_prompt_swap(self) -> None:
        """Count a model name that resolved to another version than before."""
        self._prompt_swaps.inc()

    def set_prompt_cache(self, num_prompts: int, num_bytes: int) -> None:
        """Set the number and the total size of the cached prompts."""
        self._cached_prompts.set(num_prompts)
        self._cached_prompt_bytes.set(num_bytes)

    def count_cache_hit(self) -> None:
        """Count a lookup that found the prompt in the cache."""
        self._prompt_lookups.labels("hit").inc()

    def count_cache_miss(self) -> None:
        """Count a lookup that had to load the prompt from the registry."""
        self._prompt_lookups.labels("miss").inc()

    def set_replica_up(self, url: str, *, is_up: bool) -> None:
        """Set whether a replica receives requests."""
        self._replica_up.labels(url).set(is_up)

    def set_replica_load(self, url: str, num_sequences: int) -> None:
        """Set the number of sequences that a replica runs for this gateway."""
        self._replica_load.labels(url).set(num_sequences)

    def count_replica_request(self, url: str, outcome: str) -> None:
        """Count a request to a replica by its outcome: `success`, `connection_error` or `rejected`."""
        self._replica_requests.labels(url, outcome).inc()

    def count_error(self, code: str) -> None:
        """Count a rejected or failed request. `code` is one of the server's own codes, never text of a client."""
        self._error_count.labels(code).inc()

    def render_text(self) -> bytes:
        """Render all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _get_tenant_label(self, tenant: str) -> str:
        with self._lock:
            if tenant not in self._labeled_tenants and len(self._labeled_tenants) >= self._max_tenant_labels:
                return OTHER_TENANTS_LABEL
            self._labeled_tenants.add(tenant)
        return tenant

    def _create_histogram(
        self, name: str, description: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> Histogram:
        return Histogram(f"softprompt_{name}", description, labels, buckets=buckets, registry=self.registry)

    def _create_gauge(self, name: str, description: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"softprompt_{name}", description, labels, registry=self.registry)

    def _create_counter(self, name: str, description: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"softprompt_{name}", description, labels, registry=self.registry)
