"""The Python in docs/store.md runs as written."""

import re
from pathlib import Path

import numpy as np
import pytest
from sample_clips import PRODUCER, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.spec import Segment, StoreSpec

PAGE = Path(__file__).parents[3] / "docs" / "store.md"
IDS = ["74225", "116154", *(f"clip-{number}" for number in range(40))]


def full_spec(dtype: str) -> StoreSpec:
    prefix = Segment(name="prefix", kind="prefix", count=1)
    patches = Segment(name="patches", kind="grid", count=25, grid=(5, 5))
    return StoreSpec(
        backbone="test-backbone",
        weights_digest="0" * 64,
        segments=(prefix, patches),
        dim=6,
        frames=4,
        sampling="uniform",
        preprocessing={},
        dtype=dtype,  # type: ignore[arg-type]
    )


def make_store(path: Path, dtype: str, form: Format) -> None:
    spec = full_spec(dtype)
    store = create_store(path, spec, dataset="demo", format=form)
    store.add_clips(ClipRow(clip, f"label {len(clip)}") for clip in IDS)
    with store.writer(PRODUCER) as writer:
        for clip in IDS:
            writer.add(make_record(clip, 4), make_tokens(clip, spec))


def test_every_block_runs_and_reads_right_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_store(Path("stores/demo"), "float16", "zarr")
    make_store(Path("stores/demo-hdf5"), "float16", "hdf5")
    make_store(Path("stores/demo-bfloat16"), "bfloat16", "zarr")
    make_store(Path("stores/demo-int8-channel"), "int8-channel", "zarr")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    expected = make_tokens("74225", full_spec("float16")).astype(np.float16)
    for number, block in enumerate(blocks):
        exec(block, names)
        if number in (2, 3):  # with stepcli, and without
            np.testing.assert_array_equal(names["tokens"], expected)
            np.testing.assert_array_equal(names["same_tokens"], expected)
    assert tuple(names["seconds"]) == make_record("74225", 4).pts_seconds  # type: ignore[arg-type]
    assert names["by_label"].to_dict() == {"label 5": 1, "label 6": 11, "label 7": 30}  # type: ignore[attr-defined]
    for name, dtype in (("values", "bfloat16"), ("floats", "int8-channel")):
        store = open_store(f"stores/demo-{dtype}")
        order = np.argsort(IDS)  # rows lie as written, ids come sorted
        found = np.asarray(names[name].float() if name == "values" else names[name])  # type: ignore[attr-defined]
        np.testing.assert_allclose(found[order], store.read_floats(store.ids), rtol=1e-6)
