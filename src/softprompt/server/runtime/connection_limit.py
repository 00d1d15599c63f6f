"""The maximum number of connections, by the process's limit of open files."""

from __future__ import annotations

import sys
from contextlib import suppress

from softprompt.errors import SettingError

MAX_CONNECTIONS = 2000  # if the limit of open files allows them
RESERVED_DESCRIPTORS = 128  # for files, the registry, and connections that arrive while others are closed
DESCRIPTORS_PER_CONNECTION = 2  # the client's, and one to a replica or the registry


def ensure_connection_limit(max_connections: int = MAX_CONNECTIONS) -> int:
    """Raise the soft limit of open files as far as needed, and return the allowed number of connections.

    Args:
        max_connections: desired number of connections.

    Raises:
        SettingError: the limit does not allow a single connection.
    """
    if sys.platform == "win32":
        return max_connections
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max_connections * DESCRIPTORS_PER_CONNECTION + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        with suppress(OSError, ValueError):  # some systems allow less than the hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    allowed = (
        max_connections
        if soft == resource.RLIM_INFINITY
        else min(max_connections, (soft - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION)
    )
    if allowed < 1:
        raise SettingError(
            f"the limit of open files is {soft}, but a server needs more than {RESERVED_DESCRIPTORS}: raise it with "
            "`ulimit -n 4096`"
        )
    return allowed
