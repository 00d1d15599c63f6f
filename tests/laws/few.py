"""How much hypothesis draws where a law is tried on each of many families and methods anyway.

The first case of each is the plainest there is (one virtual token, one short row); the others are drawn for that family
and method alone. The thorough profile draws four times as many.
"""

from __future__ import annotations

from hypothesis import settings

_TIMES = max(1, settings().max_examples // 50)

few = settings(max_examples=3 * _TIMES)
fewest = settings(max_examples=2 * _TIMES)
