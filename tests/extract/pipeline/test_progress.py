"""What a user sees of a run, where its tokens go by default, and on what it computes."""

import hashlib
import io
import sys
from pathlib import Path

import pytest
import torch

from stepcli.cache.store.locate import stores_folder
from stepcli.extract.config import ExtractConfig
from stepcli.extract.pipeline.default_store import default_store
from stepcli.extract.pipeline.progress import ExtractionProgress
from stepcli.runtime.devices import resolve_device
from stepcli.runtime.errors import UsageError
from stepcli.runtime.progress import duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (42.4, "42 s"), (200.0, "3 min 20 s"), (7 * 3600 + 299.8, "7 h 05 min")],
)
def test_seconds_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_terminal_gets_one_bar_with_what_was_put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ExtractionProgress(3, 2) as progress:
        progress.clip_done()
        progress.clip_quarantined()
        progress.workers = "2 workers"
        progress.clip_done()
    shown = terminal.getvalue()
    assert shown.startswith("2 clips are done already, 3 clips to go")
    assert "3/3" in shown.rsplit("\r", 1)[1]
    assert "1 quarantined; 2 workers" in shown


@pytest.mark.parametrize(
    ("backbone", "tokens", "name"),
    [
        ("dinov2-b14", "cls,grid4", "ssv2-dinov2-b14-8f-cls+grid4"),
        ("hf:/models/mine/", "cls", "ssv2-hf-mine-8f-cls"),
        ("hf:facebook/dinov2-base", "full", "ssv2-hf-dinov2-base-8f-full"),
    ],
)
def test_a_store_is_named_by_what_is_in_it(
    backbone: str, tokens: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPCLI_STORES", str(tmp_path))
    request = ExtractConfig(dataset="ssv2", root=None, backbone=backbone, tokens=tokens, frames=8)
    assert default_store(request, None) == tmp_path / name  # of clips that ship with stepcli
    digest = hashlib.sha256(b"/data/some thing").hexdigest()[:8]
    assert default_store(request, Path("/data/some thing")) == (
        tmp_path / f"{name}-some_thing-{digest}"
    )
    assert default_store(request, Path("/other/some thing")).name != f"{name}-some_thing-{digest}"
    monkeypatch.setenv("STEPCLI_STORES", "")
    assert default_store(request, None) == stores_folder() / name == Path("stores") / name


def test_devices_are_named_or_refused() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected
    for name in ("tpu", "cuda:x"):
        with pytest.raises(UsageError, match="expected auto, cpu, cuda, cuda:<number> or mps"):
            resolve_device(name)
    beyond = torch.cuda.device_count()
    with pytest.raises(UsageError, match=f"--device cuda:{beyond}: this machine has cpu"):
        resolve_device(f"cuda:{beyond}")
