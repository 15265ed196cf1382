"""Texts beside a store: what a method may ask of them, and files that are not what they say."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Generator, Tensor

from stepcli.cache.schema.spec import Segment
from stepcli.probe.analysis.load_run import texts_of_run
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.text import StoreText, stored_texts
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.runs.record import RunRecord
from stepcli.runtime.errors import DamagedStore, UsageError

CLASSES = ("open", "close")
CLS = Segment(name="cls", kind="prefix", count=1)
PATCHES = Segment(name="grid", kind="grid", count=4, grid=(2, 2))

Tensors = dict[str, Tensor]


@pytest.fixture
def text(text_of: Callable[..., StoreText], tmp_path: Path) -> StoreText:
    """Of a tower of 8 channels whose images have tokens of 16; a test may change its files."""
    return text_of(CLASSES, store=tmp_path, dim=8, vision_dim=16)


def rewrite(text: StoreText, change: Callable[[Tensors], Any]) -> StoreText:
    """The same texts with other tensors, the digest made to match."""
    path = text.folder / "text.safetensors"
    tensors = load_file(path)
    change(tensors)
    path.write_bytes(save(tensors))
    return replace(text, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def build(name: str, layout: TokenLayout, **options: str) -> None:
    info = methods().get(name)
    info.build(layout, 2, parse_options(info, options), Generator())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("zero-shot", {"tower": "other"}, "holds texts of made-up; choose one of these"),
        ("xclip", {"frame": "mean"}, "use frame=cls, or project=learned"),
    ],
)
def test_options_that_no_text_serves(
    name: str, options: dict[str, str], message: str, text: StoreText
) -> None:
    layout = TokenLayout(4, 16, (CLS, PATCHES), classes=CLASSES, texts=(text,))
    with pytest.raises(UsageError, match=message):
        build(name, layout, **options)


def test_tokens_of_another_backbone_than_the_towers_are_refused(text: StoreText) -> None:
    other = TokenLayout(4, 32, (CLS, PATCHES), classes=CLASSES, texts=(text,))
    with pytest.raises(UsageError, match="tokens of 16 channels, the store's have 32"):
        build("zero-shot", other)
    build("xclip", other, project="learned")  # what the message says would do


def test_a_tower_that_pools_its_patches_has_no_way_from_a_cls(text: StoreText) -> None:
    image_side = ("cls_projection", "cls_norm.weight", "cls_norm.bias")
    siglip = rewrite(text, lambda tensors: [tensors.pop(name) for name in image_side])
    layout = TokenLayout(4, 16, (CLS, PATCHES), classes=CLASSES, texts=(siglip,))
    with pytest.raises(UsageError, match="no projection of a CLS token"):
        build("vcs", layout)


def test_a_frame_without_cls_can_speak_through_its_patches(text: StoreText) -> None:
    layout = TokenLayout(4, 16, (PATCHES,), classes=CLASSES, texts=(text,))
    with pytest.raises(UsageError, match="or use frame=mean with project=learned"):
        build("xclip", layout)
    build("xclip", layout, frame="mean", project="learned")


def test_classes_and_units_that_were_not_embedded_are_named(text: StoreText) -> None:
    with pytest.raises(UsageError, match="no text embedding of class 'shut'; embed anew"):
        text.labels(["open", "shut"])
    turned = text.labels(["close", "open"])
    assert torch.equal(turned, text.labels(["open", "close"]).flip(0))
    bare = rewrite(text, lambda tensors: tensors.pop("units"))
    with pytest.raises(UsageError, match="with --text and --units FILE"):
        bare.unit_embeddings()


def test_tensors_with_another_digest_are_refused(text: StoreText) -> None:
    path = text.folder / "text.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DamagedStore, match=r"digest is not the one in text\.json"):
        text.labels(CLASSES)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("labels"), "labels"),
        (lambda t: t.update(labels=t["labels"][:1]), "labels"),
        (lambda t: t.update(labels=t["labels"].long()), "labels"),
        (lambda t: t.update(labels=torch.tensor(1.0)), "labels"),
        (lambda t: t.update(templates=t["labels"].clone()), "templates"),
        (lambda t: t.update(units=t["units"][:2]), "units"),
        (lambda t: t.update(logit_scale=torch.ones(2)), "logit_scale"),
        (lambda t: t.pop("cls_norm.bias"), "cls_projection"),
        (lambda t: t.update({"cls_norm.bias": torch.ones(3)}), r"cls_norm\.bias"),
    ],
)
def test_a_tensor_that_is_not_what_its_name_says_is_named(
    change: Callable[[Tensors], Any], named: str, text: StoreText
) -> None:
    with pytest.raises(DamagedStore, match=rf"[ ,]{named}[,:].* than 2 classes need"):
        rewrite(text, change).labels(CLASSES)


def test_a_file_of_the_right_digest_that_holds_no_tensors(text: StoreText) -> None:
    path = text.folder / "text.safetensors"
    path.write_bytes(b"no tensors")
    text = replace(text, sha256=hashlib.sha256(b"no tensors").hexdigest())
    with pytest.raises(DamagedStore, match="not a safetensors file"):
        text.labels(CLASSES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tower": 1}, "tower is 1; extract --text again"),
        ({"classes": "open"}, "classes is 'open'"),
        ({"sha256": None}, "sha256 is None"),
        ({"classes": ["open", 2]}, "classes and units must be texts"),
        ({"units": [[]]}, "classes and units must be texts"),
    ],
)
def test_facts_that_cannot_be(change: dict[str, Any], message: str, text: StoreText) -> None:
    path = text.folder / "text.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DamagedStore, match=message):
        stored_texts(text.folder.parents[1])


def test_facts_that_are_no_json(text: StoreText) -> None:
    (text.folder / "text.json").write_text("{")
    with pytest.raises(DamagedStore, match=r"text\.json"):
        stored_texts(text.folder.parents[1])


def test_a_run_of_a_store_in_object_storage_needs_its_texts_beside_it(
    text: StoreText, tmp_path: Path
) -> None:
    """Nothing that a run names is connected to."""
    record = RunRecord.model_construct(method="zero-shot", store="s3://somebody/store")
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(UsageError, match="texts are in s3://somebody/store/text; copy that folder"):
        texts_of_run(record, run)
    assert isinstance(text.folder, Path)
    shutil.copytree(text.folder.parent, run / "text")
    assert texts_of_run(record, run) == (text,)
