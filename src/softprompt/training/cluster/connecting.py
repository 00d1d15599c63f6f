"""The connection to a Ray cluster, by Ray's own rules, and without a word on standard output."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from softprompt.errors import ClusterFailed, SettingError, first_line

REACHED_WITHIN = 10  # seconds; Ray itself tries for minutes, and says nothing of why


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, with the connection that it has already, or with one for the time being.

    Args:
        address: the cluster's; otherwise that of `RAY_ADDRESS`, or one that runs on this machine, or a new one on it.

    Raises:
        SettingError: Ray is not installed.
        ClusterFailed: the cluster cannot be reached.
    """
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with redirect_stdout(sys.stderr):  # where its machines complain of one another, at any time until it is left
        _connect(ray, address)
        try:
            yield ray
        finally:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    try:
        _check_answers(address or "")
        ray.init(
            address,
            log_to_driver=False,
            include_dashboard=False,
            configure_logging=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError) as error:
        where = f"at {address} " if address else ""
        raise ClusterFailed(
            f"the Ray cluster {where}cannot be used ({first_line(error)}): see that it runs and that RAY_ADDRESS names "
            "it, or unset RAY_ADDRESS to stay on this machine"
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise SettingError("ray is not installed: pip install 'softprompt[ray]'") from error
    return ray


def _check_answers(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED_WITHIN).close()
