"""How much each prompt is used, for the page: counts per version of a tenant's, since the server began.

They are not in `/metrics`, where every prompt would be a label that Prometheus keeps for ever.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

REMEMBERED = 10_000  # versions, those that were used last


@dataclass
class Use:
    """How much one version was used. Only the event loop counts.

    Attributes:
        requests: that were answered, or began to be.
        read: tokens of text.
        written: tokens of responses.
        begun: responses that have a first token.
        waited: seconds from a request to its first token, all of them together.
    """

    requests: int = 0
    read: int = 0
    written: int = 0
    begun: int = 0
    waited: float = 0.0

    def first_token(self, seconds: float) -> None:
        """A response has its first token, so long after it was asked for."""
        self.begun += 1
        self.waited += seconds

    def request(self, read: int, written: int = 0) -> None:
        """A request is over, and took so many tokens."""
        self.requests += 1
        self.read += read
        self.written += written


class Tally:
    """What tenants used, each of their versions and the base model.

    Args:
        remembered: how many versions are counted; the one that was asked for longest ago is forgotten first.
    """

    def __init__(self, remembered: int = REMEMBERED):
        self._remembered = remembered
        self._uses: OrderedDict[tuple[str, str], Use] = OrderedDict()

    def of(self, tenant: str, model: str) -> Use:
        """The counts of what a tenant asks now: a version, `reviews@3`, or the base model."""
        use = self._uses.pop((tenant, model), None) or Use()
        self._uses[tenant, model] = use
        if len(self._uses) > self._remembered:
            self._uses.popitem(last=False)
        return use

    def used(self, tenant: str) -> Mapping[str, Use]:
        """All that a tenant used."""
        return {model: use for (whose, model), use in self._uses.items() if whose == tenant}
