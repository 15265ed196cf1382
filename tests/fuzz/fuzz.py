"""Readers of every file format, given what an untrusted source may have made of it.

    python tests/fuzz/fuzz.py --cases 2000 [--only "zarr shard"] [--first 0]

Every case must end in a right answer or a StepcliError of one line: no crash, no hang, no memory
beyond the limit, no other exception. A case is named by its format and number, and is the same
whenever it is run: --only FORMAT --first N --cases 1 runs it again.
"""

import argparse
import faulthandler
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import run_formats
import store_formats
import text_formats

from stepcli.runtime.errors import StepcliError

MEMORY = 8 << 30
"""Bytes of address space; libraries and the stacks of threads take most of it."""
SECONDS = 20
"""A case takes milliseconds; one that takes so long hangs."""

FORMATS = {
    **store_formats.FORMATS,
    **{
        name: (make, change, (use,))
        for name, (make, change, use) in (run_formats.FORMATS | text_formats.FORMATS).items()
    },
}


def run(name: str, first: int, cases: int, scratch: Path) -> Counter[str]:
    """Some cases of one format; how they ended."""
    make, change, uses = FORMATS[name]
    made, tried = scratch / "made", scratch / "tried"
    make(made)
    ended: Counter[str] = Counter()
    for use in uses:  # else nothing but refusals would be tested
        shutil.copytree(made, tried)
        use(tried)
        shutil.rmtree(tried)
    for number in range(first, first + cases):
        for use in uses:
            shutil.copytree(made, tried)
            change(tried, random.Random(f"{name} {number}"))
            signal.alarm(SECONDS)
            try:
                use(tried)
                ended["read"] += 1
            except StepcliError as error:
                if "\n" in str(error):
                    raise AssertionError(f"{name} {number}: several lines: {error}") from error
                ended["refused"] += 1
            except Exception as error:  # noqa: BLE001 (whatever it is: a finding)
                ended["FAILED"] += 1
                sys.stderr.write(f"{name} {number} {use.__name__}: {error!r:.300}\n")
                if ended["FAILED"] <= SHOWN:
                    traceback.print_exc(limit=-6)
            finally:
                signal.alarm(0)
            shutil.rmtree(tried)
    shutil.rmtree(made)
    return ended


SHOWN = 3
"""Tracebacks a format; what follows is mostly the same."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="of each format")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", choices=FORMATS)
    asked = parser.parse_args()
    faulthandler.enable()
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def hang(*_: object) -> None:
        raise TimeoutError(f"a case took more than {SECONDS} s")

    signal.signal(signal.SIGALRM, hang)
    failed = 0
    for name in [asked.only] if asked.only else FORMATS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            ended = run(name, asked.first, asked.cases, Path(scratch))
        failed += ended["FAILED"]
        said = ", ".join(f"{count} {end}" for end, count in sorted(ended.items()))
        sys.stdout.write(f"{name}: {said} ({time.monotonic() - started:.1f} s)\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
