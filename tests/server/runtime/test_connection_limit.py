"""The connection limit follows from the limit of open files, which is raised as far as the process may."""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

import pytest

from softprompt.errors import SettingError
from softprompt.server.runtime.connection_limit import (
    DESCRIPTORS_PER_CONNECTION,
    RESERVED_DESCRIPTORS,
    ensure_connection_limit,
)

resource: Any = pytest.importorskip("resource")
ENDLESS = -1


class Limits:
    """A process' limits of open files, as `resource` tells and sets them."""

    RLIMIT_NOFILE, RLIM_INFINITY = 7, ENDLESS

    def __init__(self, soft: int, hard: int):
        self.now = soft, hard

    def getrlimit(self, what: int) -> tuple[int, int]:
        assert what == self.RLIMIT_NOFILE
        return self.now

    def setrlimit(self, what: int, limits: tuple[int, int]) -> None:
        assert what == self.RLIMIT_NOFILE
        if self.now[1] != ENDLESS and limits[0] > self.now[1]:
            raise ValueError("current limit exceeds maximum limit")
        self.now = limits


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "raised"),
    [
        (1024, 1_048_576, 2000, 2000 * DESCRIPTORS_PER_CONNECTION + RESERVED_DESCRIPTORS),  # Linux, usually
        (1024, ENDLESS, 2000, 2000 * DESCRIPTORS_PER_CONNECTION + RESERVED_DESCRIPTORS),
        (65_536, 65_536, 2000, 65_536),
        (ENDLESS, ENDLESS, 2000, ENDLESS),
        (256, 1024, (1024 - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION, 1024),
        (256, 256, (256 - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION, 256),
    ],
)
def test_the_soft_limit_of_open_files_is_raised(
    soft: int, hard: int, connections: int, raised: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(soft, hard)
    monkeypatch.setitem(sys.modules, "resource", limits)
    assert ensure_connection_limit(2000) == connections
    assert limits.now == (raised, hard)


def test_a_file_limit_too_low_for_any_connection_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", Limits(64, 64))
    with pytest.raises(SettingError, match="limit of open files is 64.*ulimit -n"):
        ensure_connection_limit()


def _raise(told: Any) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    told.put((ensure_connection_limit(100), resource.getrlimit(resource.RLIMIT_NOFILE)[0]))


def test_the_open_file_limit_of_a_real_process_is_raised() -> None:
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    process = context.Process(target=_raise, args=(told,))
    process.start()
    assert told.get() == (100, 100 * DESCRIPTORS_PER_CONNECTION + RESERVED_DESCRIPTORS)
    process.join()
