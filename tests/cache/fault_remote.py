"""One fault a round at every request that a store in object storage makes; see fault_rounds.py.

    python tests/cache/fault_remote.py --rounds 500

A proxy in front of a real server answers the n-th request of a verb with 403, 503 or 500, hangs up
before or after the server has done what was asked, or cuts the answer short. Nothing is repeated.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import get_args
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parent))

from failing_proxy import Fault, failing_proxy
from fault_actions import ACTIONS, Action, check_done, check_kept, make_stores
from fault_rounds import SAID, in_child
from s3_server import s3_server

from stepcli.cache.schema.manifest import Format
from stepcli.cache.storage import obstore_client
from stepcli.cache.storage.objects import ObjectPath

FAULTS: dict[str, tuple[Fault, ...]] = {
    "GET": ("403", "503", "drop", "short"),
    "HEAD": ("403", "503", "drop"),
    "PUT": ("403", "503", "drop", "lost"),
    "DELETE": ("403", "503", "lost"),
    "POST": ("403", "503", "lost"),
}


@dataclass(frozen=True)
class RemoteFault:
    """One fault of one action."""

    action: str
    verb: str
    fault: Fault
    number: int


class Server:
    """The real server, the stores that rounds begin with, and the rounds."""

    def __init__(self, endpoint: str, form: Format, log: Path) -> None:
        self._endpoint, self._form, self._log = endpoint, form, log
        self._base = ObjectPath(f"s3://features/{uuid4().hex}")
        self._must(lambda: make_stores(self._base, form))

    def _child(self, work: object, endpoint: str = "") -> int:
        def through() -> None:
            os.environ["AWS_ENDPOINT_URL"] = endpoint or self._endpoint
            if endpoint:
                obstore_client.RETRIES["max_retries"] = 0
            work()  # type: ignore[operator]

        return in_child(through, self._log)

    def _must(self, work: object) -> None:
        if self._child(work):
            raise AssertionError(self._log.read_text())

    def fresh(self, action: Action) -> ObjectPath:
        """A prefix with what an action needs."""
        name = uuid4().hex

        def copy() -> None:
            client = self._base.client
            for store in action.needs:
                for key in (self._base / store).names():
                    client.copy(f"{store}/{key}", f"{name}/{store}/{key}")

        self._must(copy)
        return self._base / name

    def count(self, action: Action) -> Counter[str]:
        """How many requests of each verb an action makes."""
        root = self.fresh(action)
        with failing_proxy(self._endpoint, lambda _: "") as (proxy, seen):
            if self._child(lambda: action.run(root, self._form), proxy):
                raise AssertionError(self._log.read_text())
        return Counter(request.partition(" ")[0] for request in seen)

    def round(self, fault: RemoteFault) -> str:
        """One round; what was wrong, "" when nothing was."""
        action, form = ACTIONS[fault.action], self._form
        root = self.fresh(action)
        requests: list[list[str]] = []

        def fault_of(number: int) -> Fault:
            verbs = [request.partition(" ")[0] for request in requests[0][: number + 1]]
            due = verbs[-1] == fault.verb and verbs.count(fault.verb) == fault.number + 1
            return fault.fault if due else ""

        with failing_proxy(self._endpoint, fault_of) as (proxy, seen):
            requests.append(seen)
            code = self._child(lambda: action.run(root, form), proxy)
        said = self._log.read_text()
        if code not in (0, SAID):
            return f"ended with {code}: {said}"
        check = check_done if code == 0 else check_kept
        if self._child(lambda: check(root, action)):
            return f"after exit code {code} ({said}): {self._log.read_text()}"
        if self._child(lambda: action.run(root, form)):
            return f"run again after {said}: {self._log.read_text()}"
        if self._child(lambda: check_done(root, action)):
            return f"when run again after {said}: {self._log.read_text()}"
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=0, help="drawn of all (0 = all)")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no round afterwards")
    parser.add_argument("--format", default="zarr", choices=get_args(Format))
    parser.add_argument("--endpoint", help="of a server that runs already")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ |= {"AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    wrong = 0
    done: Counter[str] = Counter()
    end = time.monotonic() + 60 * given.minutes
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        endpoint = given.endpoint or stack.enter_context(s3_server(Path(name)))
        server = Server(endpoint, given.format, Path(name) / "log")
        faults = []
        for action in ACTIONS.values():
            counts = server.count(action)
            sys.stdout.write(f"{action.name}: {dict(counts)}\n")
            faults += [
                RemoteFault(action.name, verb, fault, number)
                for verb, answers in FAULTS.items()
                for fault in answers
                for number in range(counts[verb])
            ]
        drawn = random.Random(given.seed).sample(faults, given.rounds or len(faults))
        for fault in drawn:
            if time.monotonic() > end:
                break
            text = server.round(fault)
            done[fault.action] += 1
            if text:
                wrong += 1
                sys.stdout.write(f"WRONG {fault}: {text}\n")
                sys.stdout.flush()
    for what, count in sorted(done.items()):
        sys.stdout.write(f"{what} in S3: {count} rounds\n")
    sys.stdout.write(f"{done.total()} of {len(faults)} faults in S3, {wrong} wrong\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
