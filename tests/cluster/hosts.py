"""Two hosts on one machine: network namespaces joined by a cable, a Ray node in each. Needs root.

    python tests/cluster/hosts.py            # or: make cluster-test

Real extractions from the command line, each compared clip by clip with the local engine's store:

- same:  both hosts write into one folder;
- joins: the second host joins while the first is at work, and leaves before the end;
- lost:  the cable of the second host is pulled in the middle of its work;
- s3:    both write to an S3 server on the first host, and workers are killed one after another.

All at once take six minutes on two cores.
"""

import argparse
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from stepcli.cache import open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.runtime.errors import StoreNotFound

sys.path.insert(0, str(Path(__file__).parents[1] / "cache"))
from s3_server import s3_server

WORDS = (
    "--dataset openclose --backbone mobilenet_v2-bundled --frames 8 --tokens grid2 "
    "--dtype float32 --part-clips 8"
)
ADDRESSES = {"host-a": "10.77.0.1", "host-b": "10.77.0.2"}
PORT = 6379
KILLS = 6
PATIENCE = 240
STOP_SECONDS = 16
"""What `ray stop` waits before it kills."""
SOON_DEAD = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""A node counts as lost after seconds here, not after half a minute."""
ENVIRONMENT = {
    "AWS_ALLOW_HTTP": "true",
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_REGION": "us-east-1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A head that finds a token in the user's home asks for it, and nodes that join do not look.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def ip(words: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *words.split()], check=True)


def in_namespaces() -> None:
    """Become host-a: start this script again where nothing it does is seen outside, and where all
    that it started ends with it."""
    spaces = ["--net", "--uts", "--pid", "--mount-proc", "--fork", "--kill-child"]
    again = [sys.executable, *sys.argv, "--inside"]
    os.execvp("unshare", ["unshare", *spaces, *again])


@contextmanager
def two_hosts() -> Iterator[None]:
    """A cable from here, host-a, to host-b; whatever the hosts run ends."""
    socket.sethostname("host-a")
    # Names of namespaces are files; here they end with this one, however it ends.
    Path("/run/netns").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run/netns"], check=True)
    ip("netns add host-b")
    try:
        ip("link add cable type veth peer name cable netns host-b")
        for host, address in ADDRESSES.items():
            where = "-n host-b " if host == "host-b" else ""
            ip(f"{where}addr add {address}/24 dev cable")
            ip(f"{where}link set cable up")
            ip(f"{where}link set lo up")
        yield
    finally:
        for pid in every_pid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while every_pid():
            with suppress(ChildProcessError):
                os.waitpid(-1, 0)
        ip("link del cable")
        ip("netns del host-b")
        subprocess.run(["umount", "/run/netns"], check=True)


def every_pid() -> list[int]:
    """All processes of both hosts but this one: they have process numbers of their own."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if path.name != "1"]


def on(host: str, command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a command on a host."""
    inside = ["ip", "netns", "exec", host, "unshare", "--uts", "sh", "-c"]
    inside += [f'hostname {host}; exec "$@"', "sh"]
    with log.open("w") as said:
        return subprocess.Popen(
            [*(inside if host == "host-b" else []), *command],
            env=os.environ | SOON_DEAD | ENVIRONMENT,
            stdout=said,
            stderr=said,
        )


class Node:
    """A Ray node of one core on a host; the first is the head."""

    def __init__(self, host: str, folder: Path) -> None:
        ray = shutil.which("ray", path=str(Path(sys.executable).parent))
        assert ray is not None
        self.host = host
        address = ADDRESSES[host]
        role = (
            ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={folder}"]
            if host == "host-a"
            else [f"--address={ADDRESSES['host-a']}:{PORT}"]
        )
        words = f"start --node-ip-address={address} --num-cpus=1 --object-store-memory=100000000"
        self.log = folder / f"{host}.log"
        self.process = on(host, [ray, *words.split(), *role, "--block"], self.log)
        wait_for(
            lambda: "Ray runtime started" in self.log.read_text(), f"a node on {host}", self.process
        )

    def leave(self) -> None:
        """As `ray stop` takes a node out, which would end both here: they share process numbers."""
        with suppress(subprocess.TimeoutExpired):
            self._signal(signal.SIGTERM)
            self.process.wait(STOP_SECONDS)
        self._signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def _signal(self, number: int) -> None:
        listed = subprocess.run(
            ["ip", "netns", "pids", self.host], capture_output=True, text=True, check=True
        )
        for pid in listed.stdout.split():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                if b"stepcli" not in Path(f"/proc/{pid}/cmdline").read_bytes():  # a decoder
                    os.kill(int(pid), number)


def wait_for(true: Callable[[], bool], what: str, running: object = None) -> None:
    """Look until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        ended = isinstance(running, subprocess.Popen) and running.poll() is not None
        if ended or time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.05)


def extract(words: str) -> list[str]:
    """The command line of an extraction."""
    return [sys.executable, "-m", "stepcli.cli", "extract", *WORDS.split(), *words.split()]


class Extraction:
    """`stepcli extract --engine ray` on host-a."""

    def __init__(self, store: str, folder: Path, whole: Path) -> None:
        self.store = store
        self.whole = open_store(whole)
        self.said = folder / "said"
        address = f"{ADDRESSES['host-a']}:{PORT}"
        engine = f"--engine ray --address {address} --worker-cpus 1 --store {store}"
        command = extract(f"{engine} --limit {len(self.whole)}")
        self.process = on("host-a", command, self.said)

    def wait_for(self, true: Callable[[], bool], what: str) -> None:
        """Look until something is so, while it runs."""
        wait_for(true, what, self.process)

    def is_writing(self, host: str) -> bool:
        """Whether a worker of a host has begun a part on the shared disk."""
        return any(Path(self.store).glob(f".staging/{host}~*"))

    def end(self) -> str:
        """Wait for its end and hold its store to the local engine's; what it said."""
        code = self.process.wait(PATIENCE)
        said = self.said.read_text()
        say("".join(f"\n    {line}" for line in said.splitlines()[-9:]))
        assert code == 0, code
        made, local = open_store(self.store), self.whole
        assert made.ids == local.ids
        np.testing.assert_allclose(made.read(made.ids), local.read(local.ids), atol=1e-4)
        assert verify_store(self.store).problems == []
        return said


def same(folder: Path, whole: Path) -> None:
    """Both hosts from the beginning."""
    Node("host-a", folder)
    Node("host-b", folder)
    said = Extraction(str(folder / "store"), folder, whole).end()
    assert "on host-a" in said
    assert "on host-b" in said


def joins(folder: Path, whole: Path) -> None:
    """The second host comes and goes."""
    Node("host-a", folder)
    run = Extraction(str(folder / "store"), folder, whole)
    run.wait_for(lambda: run.is_writing("host-a"), "work on host-a")
    second = Node("host-b", folder)
    run.wait_for(lambda: run.is_writing("host-b"), "work on host-b")
    time.sleep(2)
    second.leave()
    said = run.end()
    assert "on host-b" in said
    assert "was lost" in said


def lost(folder: Path, whole: Path) -> None:
    """The second host does not answer any more, and does not know."""
    Node("host-a", folder)
    Node("host-b", folder)
    run = Extraction(str(folder / "store"), folder, whole)
    run.wait_for(lambda: run.is_writing("host-b"), "work on host-b")
    time.sleep(2)
    ip("-n host-b link set cable down")
    assert "was lost" in run.end()


def s3(folder: Path, whole: Path) -> None:
    """Into object storage, with workers killed."""
    server = folder / "server"
    server.mkdir()
    with s3_server(server, ADDRESSES["host-a"]) as endpoint:
        ENVIRONMENT["AWS_ENDPOINT_URL"] = endpoint
        os.environ |= ENVIRONMENT
        Node("host-a", folder)
        Node("host-b", folder)
        run = Extraction("s3://features/store", folder, whole)
        killed = kill_workers(run)
        said = run.end()
    assert killed == KILLS, killed
    assert "was lost" in said


def kill_workers(run: Extraction) -> int:
    """One after another, at random moments; how many before the end."""
    moments, killed, known = random.Random(0), 0, 0
    while killed < KILLS and run.process.poll() is None:
        time.sleep(moments.uniform(0.1, 1.0))
        try:
            now = len(open_store(run.store).parts)
        except StoreNotFound:
            continue
        listed = subprocess.run(["pgrep", "-f", "ray::Worker.run"], capture_output=True, text=True)
        workers = [int(word) for word in listed.stdout.split()]
        if now > known and workers:  # losses with nothing stored between them end a run
            os.kill(moments.choice(workers), signal.SIGKILL)
            killed, known = killed + 1, now
            say(f"    worker killed after {now} parts")
    return killed


SCENARIOS = {"same": same, "joins": joins, "lost": lost, "s3": s3}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    # No choices with nargs="*": Python 3.11 looks for the default, a list, among them.
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}; default: all")
    parser.add_argument("--clips", type=int, default=384)
    parser.add_argument("--inside", action="store_true", help="(already in the namespaces)")
    asked = parser.parse_args()
    if not asked.inside:
        in_namespaces()
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # gRPC and the object client would ask it for the way to host-a
    with tempfile.TemporaryDirectory() as home:
        whole = Path(home) / "whole"
        local = extract(f"--limit {asked.clips} --store {whole}")
        subprocess.run(local, check=True, capture_output=True)
        for name in asked.scenarios or SCENARIOS:
            started = time.monotonic()
            say(f"{name}: {SCENARIOS[name].__doc__}")
            folder = Path(home) / name
            folder.mkdir()
            with two_hosts():
                SCENARIOS[name](folder, whole)
            say(f"{name}: as it should be, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
