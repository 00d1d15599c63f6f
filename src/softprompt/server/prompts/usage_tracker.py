"""Usage counts of each version since the server's start, for the playground.

The counts are not in `/metrics`, where every prompt would be a label value that Prometheus keeps forever.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

MAX_TRACKED_VERSIONS = 10_000  # most recently used versions


@dataclass
class VersionUsage:
    """The usage counts of one version. Updated only on the event loop.

    Attributes:
        num_requests: finished requests, including cancelled ones.
        prompt_tokens: prompt tokens of all requests.
        completion_tokens: generated tokens of all requests.
        ttft_count: responses with a first token.
        ttft_seconds: sum of the seconds from a request to its first token.
    """

    num_requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ttft_count: int = 0
    ttft_seconds: float = 0.0

    def record_first_token(self, seconds: float) -> None:
        """Record the seconds from a request to the first token of a response."""
        self.ttft_count += 1
        self.ttft_seconds += seconds

    def record_request(self, prompt_tokens: int, completion_tokens: int = 0) -> None:
        """Record the tokens of a finished request."""
        self.num_requests += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens


class UsageTracker:
    """A tracker of the usage counts of all tenants.

    Args:
        max_versions: maximum tracked versions; the least recently used one is dropped first.
    """

    def __init__(self, max_versions: int = MAX_TRACKED_VERSIONS):
        self._max_versions = max_versions
        self._usages: OrderedDict[tuple[str, str], VersionUsage] = OrderedDict()

    def get_usage(self, tenant: str, model: str) -> VersionUsage:
        """Return the counts of a tenant's version, such as `reviews@3`, or of the base model."""
        usage = self._usages.pop((tenant, model), None) or VersionUsage()
        self._usages[tenant, model] = usage
        if len(self._usages) > self._max_versions:
            self._usages.popitem(last=False)
        return usage

    def list_usages(self, tenant: str) -> Mapping[str, VersionUsage]:
        """Return the counts of a tenant by version."""
        return {model: usage for (owner, model), usage in self._usages.items() if owner == tenant}
