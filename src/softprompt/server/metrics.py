"""What is counted, for Prometheus. Where it is read, `routes/metrics.py` knows.

A tenant is a label, and every label's value is kept for ever. So the first `TENANTS` tenants that ask have counts of
their own, and those that come later share one; only who has a key is counted at all.
"""

from __future__ import annotations

import threading

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
TENANTS = 1000
OTHERS = "(others)"  # no tenant can be called so

_MOMENTS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LONG = (*_MOMENTS[4:], 120.0, 300.0, 600.0)
_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Metrics:
    """The counts of one server, in a registry of their own. Threads may share it."""

    def __init__(self, tenants: int = TENANTS) -> None:
        self.registry = CollectorRegistry()
        self._most_tenants, self._tenants, self._lock = tenants, set[str](), threading.Lock()
        self._first = self._times("first_token_seconds", "From a request's arrival to its first token.", _MOMENTS)
        self._between = self._times("between_tokens_seconds", "From one token of a row to the next.", _MOMENTS)
        self._queued = self._times("queue_seconds", "From a request's arrival to a slot.", _MOMENTS)
        self._request = self._times("request_seconds", "A whole request.", _LONG, ("route", "status"))
        self._rows = self._times("step_rows", "Rows in a step of the model.", _ROWS)
        self._running = self._level("running", "Rows that have a slot, or that replicas have.")
        self._waiting = self._level("waiting", "Rows that wait for one.")
        self._tokens = self._count("tokens", "Tokens of a tenant's, read and written.", ("tenant", "kind"))
        self._swaps = self._count("prompt_swaps", "Names that mean another version than when they were last asked for.")
        self._prompts = self._level("prompts_in_memory", "Prompts that are kept in RAM.")
        self._size = self._level("prompt_bytes_in_memory", "What they take.")
        self._lookups = self._count("prompt_lookups", "Prompts that were asked for, by where they were.", ("where",))
        self._used = self._level("replica_used", "Whether requests go to a vLLM server.", ("replica",))
        self._load = self._level("replica_load", "Texts that one has to do for this gateway.", ("replica",))
        self._asked = self._count("replica_requests", "What became of requests to one.", ("replica", "outcome"))
        self._errors = self._count("errors", "Requests that were refused or failed, by the error's code.", ("kind",))

    def first_token(self, seconds: float) -> None:
        """A request has its first token, so long after it came."""
        self._first.observe(seconds)

    def between_tokens(self, seconds: float) -> None:
        """A row has another token, so long after the one before."""
        self._between.observe(seconds)

    def queued(self, seconds: float) -> None:
        """A request has a slot, so long after it came."""
        self._queued.observe(seconds)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request has ended.

        Args:
            route: the route's pattern, such as `/v1/prompts/{name}/activate`; never the path, which the client writes.
            status: of the answer.
            seconds: how long it took.
        """
        self._request.labels(route, str(status)).observe(seconds)

    def step(self, rows: int) -> None:
        """The model made a step with so many rows."""
        self._rows.observe(rows)

    def load(self, running: int, waiting: int) -> None:
        """So many rows have a slot now, and so many wait."""
        self._running.set(running)
        self._waiting.set(waiting)

    def tokens(self, tenant: str, read: int = 0, written: int = 0) -> None:
        """So many tokens of a tenant's went through the model."""
        label = self._label(tenant)
        for kind, number in (("read", read), ("written", written)):
            if number:
                self._tokens.labels(label, kind).inc(number)

    def swapped(self) -> None:
        """A name means another version than before."""
        self._swaps.inc()

    def shelf(self, prompts: int, size: int) -> None:
        """So many prompts are kept in RAM now, and take so many bytes."""
        self._prompts.set(prompts)
        self._size.set(size)

    def hit(self) -> None:
        """A prompt that was asked for was in RAM."""
        self._lookups.labels("memory").inc()

    def missed(self) -> None:
        """One was read from the disk."""
        self._lookups.labels("disk").inc()

    def replica(self, url: str, *, is_used: bool) -> None:
        """Requests go to a replica now, or do not."""
        self._used.labels(url).set(is_used)

    def replica_load(self, url: str, texts: int) -> None:
        """A replica has so many texts to do now."""
        self._load.labels(url).set(texts)

    def replica_request(self, url: str, outcome: str) -> None:
        """A replica has `answered`, was `lost`, or has `declined`; after the latter two another one is asked."""
        self._asked.labels(url, outcome).inc()

    def error(self, kind: str) -> None:
        """A request was refused or failed; `kind` is one of the server's own codes, never a client's words."""
        self._errors.labels(kind).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)

    def _label(self, tenant: str) -> str:
        with self._lock:
            if tenant not in self._tenants and len(self._tenants) >= self._most_tenants:
                return OTHERS
            self._tenants.add(tenant)
        return tenant

    def _times(self, name: str, what: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
        return Histogram(f"softprompt_{name}", what, labels, buckets=buckets, registry=self.registry)

    def _level(self, name: str, what: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"softprompt_{name}", what, labels, registry=self.registry)

    def _count(self, name: str, what: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"softprompt_{name}", what, labels, registry=self.registry)
