"""A prediction or picture that ends early takes its decoder process with it."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from held_generators import Held

from stepcli.apply.pictures import stored_frames
from stepcli.apply.prediction import predict, windows
from stepcli.apply.prediction.probes import Applied, TrainedProbe
from stepcli.extract.decode import isolated
from stepcli.extract.decode.process import Child

VIDEO = Path(__file__).parents[3] / "examples" / "openclose" / "clips" / "handle-pull" / "004.mp4"


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Child]]:
    """The decoder processes that a test starts."""
    made: list[Child] = []
    start = isolated.start_child

    def started(*words: Any, **how: Any) -> Child:
        made.append(start(*words, **how))
        return made[-1]

    isolated.end_idle()
    monkeypatch.setattr(isolated, "start_child", started)
    yield made
    isolated.end_idle()


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Generator[Any]]:
    """Generators that own a decoder: held here, so that only closing them can end it."""
    held = Held(monkeypatch)
    held.of(predict, "window_tokens")
    held.of(windows, "video_frames")
    held.of(stored_frames, "video_frames")
    held.of(isolated, "ask_reader")
    return held


def interrupted(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


def require_ended(work: Callable[[], object], readers: list[Child]) -> None:
    """The decoder ends with the work, also while the generators are kept."""
    with pytest.raises(KeyboardInterrupt):
        work()
    assert readers
    assert all(child.process.poll() is not None for child in readers)


@pytest.mark.parametrize("owner", [Applied, TrainedProbe], ids=["backbone", "probe"])
def test_an_interrupted_prediction_ends_its_decoder(
    owner: type,
    runs: dict[str, Path],
    readers: list[Child],
    kept: list[Generator[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    applied = Applied([runs["linear"]], "cpu")
    name = "frame_tokens" if owner is Applied else "probabilities"
    monkeypatch.setattr(owner, name, interrupted)
    monkeypatch.setattr(windows, "BATCH", 2)  # fewer frames than windows look at
    require_ended(lambda: predict.predict(applied, VIDEO, window=0.3, stride=0.05), readers)
    assert kept


def test_interrupted_pictures_end_their_decoder(
    readers: list[Child], kept: list[Generator[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_frames, "zip", interrupted, raising=False)
    require_ended(lambda: stored_frames.frames_at(VIDEO, [0.1, 0.3]), readers)
    assert kept


def test_an_interrupted_look_at_times_ends_its_decoder(
    readers: list[Child], kept: list[Generator[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    array = isolated.np.array

    def made(values: list[float], *words: Any) -> Any:
        return interrupted() if values else array(values, *words)

    monkeypatch.setattr(isolated.np, "array", made)
    require_ended(lambda: isolated.video_seconds(VIDEO), readers)
    assert kept
