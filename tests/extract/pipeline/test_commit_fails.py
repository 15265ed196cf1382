"""A disk that refuses a part ends the extraction with its error, also the last part of all."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stepcli.cache import open_store
from stepcli.cache.parts.open_part import OpenPart
from stepcli.cache.parts.record import PartRecord
from stepcli.cache.schema.spec import Producer
from stepcli.runtime.errors import StoreError

PATIENCE_SECONDS = 120.0
CLIPS = 10


def end_of(work: Callable[[], object]) -> BaseException | None:
    """What it raised, in a thread: a wait that never ends is a failure, not a hanging test."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            work()
            raised.append(None)
        except BaseException as error:  # noqa: BLE001 (handed to the test)
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert raised, "the extraction does not end"
    return raised[0]


@pytest.mark.parametrize(("refused", "kept"), [(1, 0), (2, 4), (3, 8)])
def test_a_part_that_cannot_be_committed_ends_the_run(
    refused: int,
    kept: int,
    extract: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0
    commit = OpenPart.commit

    def refuse(self: OpenPart, producer: Producer) -> PartRecord:
        nonlocal calls
        calls += 1
        if calls >= refused:
            raise StoreError("cannot write: No space left on device")
        return commit(self, producer)

    monkeypatch.setattr(OpenPart, "commit", refuse)
    error = end_of(lambda: extract(part_clips=4))
    assert isinstance(error, StoreError)
    assert "No space left" in str(error)
    assert len(open_store(tmp_path / "store")) == kept
    monkeypatch.undo()
    assert extract(part_clips=4) == 0
    assert len(open_store(tmp_path / "store")) == CLIPS
