"""The one place that starts, joins and leaves a Ray cluster."""

import os
import secrets
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from stepcli.runtime.errors import StepcliError, UsageError
from stepcli.runtime.extras import load_extra
from stepcli.runtime.memory import KEEPING

_SEVERAL_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
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
        UsageError: it is not installed, or does not load.
    """
    return load_extra("ray", "ray", "--engine ray")


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
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # the user has not agreed to it
    with _loopback() if address == LOCAL else nullcontext():
        yield from _joined(ray, address)


def _joined(ray: Any, address: str) -> Iterator[Any]:
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address == LOCAL:
            keep_token_private()
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
        if address == LOCAL and not ray.util.get_node_ip_address().startswith("127."):
            raise UsageError(
                f"--engine ray: this Ray ({ray.__version__}) would listen on the network for a "
                "cluster of this machine alone; use --engine local, or start one with `ray start`"
            )
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _loopback() -> Iterator[None]:
    """Let a cluster of this machine listen on 127.0.0.1 alone.

    Ray has no option for it: where clusters of several machines are switched off (as they are on
    macOS), it takes the loopback for the node's address, and its servers then listen there alone.
    """
    constants: Any = import_module("ray._private.ray_constants")
    before = constants.ENABLE_RAY_CLUSTER
    given = os.environ.get(_SEVERAL_MACHINES)
    constants.ENABLE_RAY_CLUSTER = False
    os.environ[_SEVERAL_MACHINES] = "0"  # for the processes that it starts
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before
        del os.environ[_SEVERAL_MACHINES]
        if given is not None:
            os.environ[_SEVERAL_MACHINES] = given


def keep_token_private() -> None:
    """See that the token of Ray's clusters, ~/.ray/auth_token, can be read by its user alone.

    Ray would write it as the umask allows; any reader can run code as its user.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    file = Path.home() / ".ray" / "auth_token"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(file, flags, 0o600), "w", encoding="ascii") as token:
            token.write(secrets.token_hex(32))
    except FileExistsError:
        found = file.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and found.st_mode & 0o077:
            file.chmod(0o600)
    except OSError:  # without a home: Ray says what it needs
        return


def on_node(ray: Any, node: str, *, soft: bool) -> Any:
    """Ray's strategy for work on one node; soft: elsewhere if the node has gone."""
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=soft)


def _passed_on() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
