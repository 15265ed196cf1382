"""Who is writing: owners of staging folders, alive, dead or elsewhere."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from stepcli.cache.parts.commit import Staging, staging_owners, sweep_staging
from stepcli.cache.storage import writer_identity as owners


def test_only_folders_of_the_dead_are_swept(tmp_path: Path) -> None:
    child = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from stepcli.cache.storage.writer_identity import new_owner; print(new_owner().name)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    mine = owners.new_owner()
    far = f"elsewhere~boot~1~1~{'0' * 32}"
    old = f"elsewhere~boot~2~1~{'1' * 32}"
    reused = f"{mine.host}~{mine.boot}~{mine.pid}~{mine.start - 1}~{'2' * 32}"
    # Machines of one name, and one that was renamed, tell nothing about each other's processes.
    twin = f"{mine.host}~boot~{mine.pid}~1~{'5' * 32}"
    renamed = f"elsewhere~{mine.boot}~{mine.pid}~1~{'6' * 32}"
    dead = child.stdout.strip()
    staging = tmp_path / ".staging"
    for name in (mine.name, far, old, reused, dead, twin, renamed, "notes"):
        (staging / name).mkdir(parents=True)
    (staging / f"elsewhere~boot~3~1~{'3' * 32}").symlink_to(tmp_path)
    (staging / f"elsewhere~boot~4~1~{'4' * 32}").write_text("a file")
    lease = owners.LEASE_HOURS * 3600
    os.utime(staging / far, (time.time() - lease + 600,) * 2)
    os.utime(staging / old, (time.time() - lease - 600,) * 2)
    assert {owner.name for owner, _ in staging_owners(tmp_path)} == {
        *(mine.name, far, old, reused, dead, twin, renamed)
    }
    assert sorted(sweep_staging(tmp_path)) == sorted([old, reused, dead])
    for name in (mine.name, far, twin, renamed, "notes"):
        assert (staging / name).is_dir()
    assert sweep_staging(tmp_path / "nowhere") == []


def test_a_folder_that_its_owner_has_just_removed_stops_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = [f"elsewhere~boot~{pid}~1~{'7' * 32}" for pid in (1, 2)]
    for name in dead:
        folder = tmp_path / ".staging" / name
        folder.mkdir(parents=True)
        os.utime(folder, (0, 0))
    listed = list(staging_owners(tmp_path))
    listed[0][1].rmdir()
    monkeypatch.setattr(owners, "owned", lambda found, prefix: listed)
    assert sweep_staging(tmp_path) == dead[1:]


def test_what_a_sweeper_took_away_may_be_removed_again(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    staging.make_folder()
    staging.close()
    staging.discard(staging.folder / "part")
    staging.close()
    assert not staging.folder.exists()


def test_owners_are_read_from_names_and_nothing_else_is() -> None:
    mine = owners.new_owner()
    assert owners.parse_owner(mine.name) == mine
    assert mine.pid == os.getpid()
    assert mine.start > 0
    if sys.platform == "linux":  # ticks since the machine started
        ticks = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
        assert mine.start <= ticks
    assert not owners.is_dead(mine, 0)
    for host in ("0", "~"):
        elsewhere = replace(mine, host=host, start=1)
        assert not owners.is_dead(elsewhere, time.time())
        assert owners.is_dead(elsewhere, 1)
    assert owners.new_owner().unique != mine.unique
    for wrong in ("", "a~b~c~d~e", mine.name + "0", f"~{mine.name}", mine.name.replace("~", "-")):
        assert owners.parse_owner(wrong) is None


def test_names_of_machines_fit_into_names_of_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, found in (("büro~1/x", "büro_1_x"), ("a" * 300, "a" * 80), ("", "unknown")):
        monkeypatch.setattr(socket, "gethostname", lambda said=host: said)
        assert owners._host.__wrapped__() == found
        owner = replace(owners.new_owner(), host=found, boot="b" * 80)
        assert owners.parse_owner(owner.name) == owner


def test_owners_on_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ps and sysctl, as far as their output goes."""
    script = f"""#!/bin/sh\nprintf '%s\\n' "$*" >> {tmp_path}/asked\ncat {tmp_path}/said\n"""
    for name in ("ps", "sysctl"):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(owners, "sys", SimpleNamespace(platform="darwin"))
    said = tmp_path / "said"
    said.write_text("{ sec = 1700000000, usec = 123 } Tue Nov 14 23:13:20 2023\n")
    assert owners._boot.__wrapped__() == "__sec___1700000000__usec___123_"
    said.write_text("Tue Nov 14 23:13:20 2023\n")
    start = owners._start_of(123)
    assert start is not None
    assert time.localtime(start)[:6] == (2023, 11, 14, 23, 13, 20)
    said.write_text("\n")
    assert owners._start_of(123) is None
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["-n kern.boottime", *["-o lstart= -p 123"] * 2]


def test_a_process_that_nobody_has_waited_for_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    me = owners.new_owner()
    deadline = time.monotonic() + 60
    while owners._start_of(child.pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    zombie = owners.Owner(me.host, me.boot, child.pid, 1, me.unique)
    assert owners.is_dead(zombie, time.time())
    child.wait()
