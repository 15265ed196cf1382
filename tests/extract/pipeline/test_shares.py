"""One data set divided among processes, into one store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepcli.cache import open_store
from stepcli.extract.config import ExtractConfig
from stepcli.extract.pipeline.clip_list import spread
from stepcli.runtime.errors import UsageError

Extract = Callable[..., int]


def test_shares_meet_in_one_store_and_one_made_otherwise_is_noted(
    extract: Extract, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(rank=0, world_size=3) == 0
    assert open_store(tmp_path / "store").ids == ["c0", "c3", "c6", "c9"]
    assert extract(rank=1, world_size=3) == 0
    assert "made otherwise" not in capsys.readouterr().err
    assert extract(rank=2, world_size=3, precision="bfloat16") == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "made otherwise" in line]
    (note,) = notes
    assert note.endswith("numerics: store float32, now bfloat16")
    assert len(open_store(tmp_path / "store")) == 10
    assert extract() == 0


@pytest.mark.parametrize(
    ("given", "slurm", "expected"),
    [
        ((None, None), {}, (0, 1)),
        ((None, None), {"SLURM_PROCID": "2", "SLURM_NTASKS": "8"}, (2, 8)),
        ((1, 4), {"SLURM_PROCID": "2", "SLURM_NTASKS": "8"}, (1, 4)),
    ],
)
def test_the_share_is_given_or_slurms(
    given: Any, slurm: dict[str, str], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    rank, ranks = given
    assert ExtractConfig(dataset="ssv2", rank=rank, world_size=ranks).share == expected


def test_shares_are_given_one_way() -> None:
    with pytest.raises(UsageError, match="go together"):
        ExtractConfig(dataset="ssv2", rank=1)
    with pytest.raises(UsageError, match="end at 3"):
        ExtractConfig(dataset="ssv2", rank=4, world_size=4)
    with pytest.raises(UsageError, match="--devices divides the data set itself"):
        ExtractConfig(dataset="ssv2", devices="0,1", rank=0, world_size=2)


def test_spread_keeps_every_part_of_the_list() -> None:
    clips: Any = list(range(10))
    assert spread(clips, 4) == (0, 2, 5, 7)
    assert spread(clips, None) == spread(clips, 99) == tuple(range(10))
