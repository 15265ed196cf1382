"""The one place that starts, joins and leaves a Ray cluster."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from stepcli.cache.errors import StepcliError, UsageError
from stepcli.cache.malloc import KEEPING

LOCAL = "local"
"""Ray's word for a cluster of this machine alone that ends with the command."""
PASSED_ON = ("STEPCLI_", "HF_HUB_", "HF_HOME")
"""Beginnings of the environment variables that workers on other machines are given. Credentials
are not among them: Ray shows a job's environment to everyone who can see its dashboard."""


class WorkersLost(StepcliError):
    """Workers end again and again and nothing gets done."""


class WorkerFailed(StepcliError):
    """A worker met an error that would meet every other worker too."""


def import_ray() -> Any:
    """The module `ray`.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module("ray")
    except ImportError as error:
        raise UsageError(
            "--engine ray: Ray is not installed; pip install 'stepcli[ray]'"
        ) from error


@contextmanager
def ray_cluster(address: str | None) -> Iterator[Any]:
    """Join a Ray cluster, or start one on this machine; the module `ray`, connected.

    Args:
        address: as for `ray.init`, e.g. "auto" or "ray://head:10001"; None means RAY_ADDRESS where
            that is set, else a cluster of this machine alone.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
    """
    ray = import_ray()
    if ray.is_initialized():  # by the caller, who also ends it
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody was asked
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            include_dashboard=False if address == LOCAL else None,
            logging_level="error",
            log_to_driver=False,
            runtime_env={"env_vars": KEEPING | _passed_on()},
        )
    except Exception as error:  # Ray has no class of its own for a node that starts too slowly
        first = str(error).strip().partition("\n")[0].partition(". ")[0]
        if address == LOCAL:
            raise UsageError(
                f"--engine ray: no cluster started on this machine ({first}); try again when it is "
                "less busy, or --engine local"
            ) from error
        raise UsageError(
            f"--address {address}: no Ray cluster answers ({first}); start one with "
            "`ray start --head`, give this machine the token that it asks for (docs/clusters.md, "
            "'Who may join'), or leave --address out to use this machine alone"
        ) from error
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own ends the process on the spot
    try:
        yield ray
    finally:
        ray.shutdown()


def on_node(ray: Any, node: str, *, soft: bool) -> Any:
    """Ray's strategy for work on one node; soft: elsewhere if the node has gone."""
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=soft)


def _passed_on() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
