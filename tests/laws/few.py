"""Profiles of hypothesis with few examples, for laws that are parametrized over many families and methods.

The first example is the simplest one (one virtual token, one short sequence); the others are drawn for each family and
method separately. The thorough profile draws four times as many.
"""

from __future__ import annotations

from hypothesis import settings

_TIMES = max(1, settings().max_examples // 50)

few = settings(max_examples=3 * _TIMES)
fewest = settings(max_examples=2 * _TIMES)
