"""How many connections there may be at once, by the files that this process may have open."""

from __future__ import annotations

import sys
from contextlib import suppress

from softprompt.errors import SettingError

CONNECTIONS = 2000  # where there are descriptors for them
RESERVE = 128  # descriptors for all else: files, the store, connections that come while others are closed
FOR_EACH = 2  # a connection's own, and that of what its request asks: a replica, or the store


def connection_limit(most: int = CONNECTIONS) -> int:
    """How many connections there may be; the process' soft limit of open files is raised for them as far as it may be.

    Args:
        most: that are wanted.

    Raises:
        SettingError: not even one may be open.
    """
    if sys.platform == "win32":
        return most
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = most * FOR_EACH + RESERVE
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        with suppress(OSError, ValueError):  # a system that allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    allowed = most if soft == resource.RLIM_INFINITY else min(most, (soft - RESERVE) // FOR_EACH)
    if allowed < 1:
        raise SettingError(
            f"this process may have {soft} files open, and a server needs more than {RESERVE}: raise the limit with "
            "`ulimit -n 4096`"
        )
    return allowed
