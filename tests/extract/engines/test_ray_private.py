"""A Ray cluster of one machine is for its user alone: the loopback, a token nobody else reads."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stepcli.runtime.ray_cluster import keep_token_private

# Run in a process of its own: the suite's cluster is another one.
CODE = """
import json, os
from pathlib import Path
from stepcli.runtime.ray_cluster import ray_cluster

def descendants(pid):
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return set()
    return {pid}.union(*(descendants(int(child)) for child in children))

def listening():
    inodes = {}
    for family in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A":
                inodes[f"socket:[{cells[9]}]"] = cells[1].partition(":")[0]
    found = set()
    for pid in descendants(os.getpid()):
        for number in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found.add(inodes.get(os.readlink(number)))
            except OSError:
                pass
    return sorted(found - {None})

with ray_cluster(None) as ray:
    answer = ray.get(ray.remote(lambda: 40 + 2).remote())
    print(json.dumps({"answer": answer, "listening": listening()}))
print("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" in os.environ)
"""
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@pytest.mark.skipif(sys.platform != "linux", reason="sockets are read from /proc")
def test_a_cluster_of_one_machine_listens_to_itself_alone(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    before = os.umask(0)  # Ray would let everybody read the token
    try:
        done = subprocess.run(
            [sys.executable, "-c", CODE],
            env=environment | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    found, left = done.stdout.splitlines()
    said = json.loads(found)
    assert said["answer"] == 42
    assert said["listening"]
    assert set(said["listening"]) <= LOOPBACK
    assert left == "False"
    token = tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700


def test_a_token_that_others_can_read_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("mine")
    token.chmod(0o644)
    keep_token_private()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() == "mine"  # clusters that run use it
    token.unlink()
    keep_token_private()
    first = token.read_text()
    assert len(first) == 64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    keep_token_private()
    assert token.read_text() == first
    token.unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("x")
    elsewhere.chmod(0o644)
    token.symlink_to(elsewhere)
    keep_token_private()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    token.unlink()
    keep_token_private()
    assert not token.exists()
