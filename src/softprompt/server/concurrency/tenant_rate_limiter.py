"""Rate limits of tenants: sequences per minute and parallel sequences.

A sequence is a response (each of the `n` to each text) or a classified text; any other request counts as one. Each
tenant has a token bucket with the capacity of one minute, which refills at a constant rate. A full bucket is equal to a
new one and is dropped, so only tenants with requests within the last minute take memory.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from softprompt.server.request_errors import RateLimitExceeded, TooManySequences

SECONDS_PER_MINUTE = 60.0


@dataclass
class _TenantBucket:
    """The token bucket of a tenant.

    Attributes:
        available: sequences that the tenant may start, as of `updated_at`.
        updated_at: time of the last update, by the limiter's clock.
        num_running: sequences that run.
    """

    available: float
    updated_at: float
    num_running: int = 0


class RateLimitLease:
    """A running request and its sequences: one until their number is known.

    Args:
        limiter: limiter that the request is charged to.
        bucket: bucket of the tenant.
    """

    def __init__(self, limiter: TenantRateLimiter, bucket: _TenantBucket):
        self._limiter, self._bucket = limiter, bucket
        self.num_sequences = 1

    def charge_sequences(self, num_sequences: int) -> None:
        """Charge the sequences of the request.

        Raises:
            RateLimitExceeded: the tenant has reached a limit.
            TooManySequences: the request alone exceeds a limit.
        """
        if num_sequences > self.num_sequences:
            self._limiter._charge_more(self._bucket, num_sequences - self.num_sequences, num_sequences)
            self.num_sequences = num_sequences


class TenantRateLimiter:
    """A rate limiter with the same limits for every tenant. Thread-safe.

    Args:
        sequences_per_minute: sequences that a tenant may start per minute, in one burst at most; None for no limit.
        max_parallel_sequences: sequences of a tenant that may run at once; None for no limit.
        max_tenants: maximum tracked tenants; beyond that, the least recent one starts with a full bucket.
        clock: monotonic clock, in seconds.
    """

    def __init__(
        self,
        sequences_per_minute: int | None = None,
        max_parallel_sequences: int | None = None,
        max_tenants: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.sequences_per_minute, self.max_parallel_sequences, self.max_tenants, self._clock = (
            sequences_per_minute,
            max_parallel_sequences,
            max_tenants,
            clock,
        )
        self._buckets: OrderedDict[str, _TenantBucket] = OrderedDict()  # the most recent tenant last
        self._lock = threading.Lock()

    @contextmanager
    def acquire_lease(self, tenant: str) -> Iterator[RateLimitLease]:
        """Charge a request of a tenant for as long as it runs.

        Raises:
            RateLimitExceeded: the tenant has reached a limit.
        """
        with self._lock:
            bucket = self._get_refilled_bucket(tenant)
            self._check_and_charge(bucket, 1)
        lease = RateLimitLease(self, bucket)
        try:
            yield lease
        except RateLimitExceeded:
            with self._lock:
                bucket.available += lease.num_sequences  # a rejected request costs nothing
            raise
        finally:
            with self._lock:
                bucket.num_running -= lease.num_sequences

    def count_running(self, tenant: str) -> int:
        """Return the number of running sequences of a tenant."""
        with self._lock:
            bucket = self._buckets.get(tenant)
            return 0 if bucket is None else bucket.num_running

    def __len__(self) -> int:
        """Return the number of tracked tenants."""
        return len(self._buckets)

    def _charge_more(self, bucket: _TenantBucket, num_added: int, num_sequences: int) -> None:
        """Charge further sequences of a running request with `num_sequences` in total."""
        if self.max_parallel_sequences is not None and num_sequences > self.max_parallel_sequences:
            raise TooManySequences(num_sequences, self.max_parallel_sequences, "at once")
        if self.sequences_per_minute is not None and num_sequences > self.sequences_per_minute:
            raise TooManySequences(num_sequences, self.sequences_per_minute, "in a minute")
        with self._lock:
            self._refill_bucket(bucket)
            self._check_and_charge(bucket, num_added)

    def _check_and_charge(self, bucket: _TenantBucket, num_sequences: int) -> None:
        if self.max_parallel_sequences is not None and bucket.num_running + num_sequences > self.max_parallel_sequences:
            problem = (
                f"{bucket.num_running} responses or texts are running, and a tenant may have "
                f"{self.max_parallel_sequences} at once"
            )
            raise RateLimitExceeded(problem, 1.0)
        if self.sequences_per_minute is not None:
            if bucket.available < num_sequences:
                missing = num_sequences - bucket.available
                problem = f"more than {self.sequences_per_minute} responses or texts in a minute"
                raise RateLimitExceeded(problem, missing * SECONDS_PER_MINUTE / self.sequences_per_minute)
            bucket.available -= num_sequences
        bucket.num_running += num_sequences

    def _get_refilled_bucket(self, tenant: str) -> _TenantBucket:
        """Return the tenant's bucket, refilled to now."""
        bucket = self._buckets.get(tenant)
        if bucket is None:
            now = self._clock()
            self._evict_buckets(now)
            bucket = self._buckets[tenant] = _TenantBucket(float(self.sequences_per_minute or 0), now)
        self._refill_bucket(bucket)
        self._buckets.move_to_end(tenant)
        return bucket

    def _refill_bucket(self, bucket: _TenantBucket) -> None:
        """Refill a bucket for the time since its last update."""
        now, capacity = self._clock(), float(self.sequences_per_minute or 0)
        bucket.available = min(capacity, bucket.available + (now - bucket.updated_at) * capacity / SECONDS_PER_MINUTE)
        bucket.updated_at = now

    def _evict_buckets(self, now: float) -> None:
        """Drop up to two buckets: full ones, or the least recent one beyond the maximum."""
        for _ in range(2):
            oldest = next((name for name, bucket in self._buckets.items() if not bucket.num_running), None)
            if oldest is None or (
                now - self._buckets[oldest].updated_at < SECONDS_PER_MINUTE and len(self._buckets) < self.max_tenants
            ):
                return
            del self._buckets[oldest]
