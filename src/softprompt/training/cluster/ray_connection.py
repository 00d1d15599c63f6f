"""Connection to a Ray cluster, without output to standard output."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from softprompt.errors import ClusterError, SettingError, summarize_error

CONNECT_TIMEOUT_S = 10  # Ray itself tries for minutes, without a reason


@contextmanager
def connect_to_ray(address: str | None) -> Iterator[Any]:
    """Connect to a Ray cluster unless Ray is connected already. Yields the module `ray`.

    Args:
        address: Address of the cluster. By default it is `RAY_ADDRESS`, else a cluster that runs on this machine, else
            a new one on this machine.

    Raises:
        SettingError: If Ray is not installed.
        ClusterError: If the cluster cannot be reached.
    """
    ray = _import_ray()
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with redirect_stdout(sys.stderr):  # Ray may print warnings until shutdown
        _init_ray(ray, address)
        try:
            yield ray
        finally:
            ray.shutdown()


def _init_ray(ray: Any, address: str | None) -> None:
    try:
        _check_reachable(address or "")
        ray.init(
            address,
            log_to_driver=False,
            include_dashboard=False,
            configure_logging=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError) as error:
        where = f"at {address} " if address else ""
        raise ClusterError(
            f"the Ray cluster {where}cannot be used ({summarize_error(error)}): check that it runs and that "
            "RAY_ADDRESS is its address, or unset RAY_ADDRESS to use this machine"
        ) from error


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise SettingError("ray is not installed: pip install 'softprompt[ray]'") from error
    return ray


def _check_reachable(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
