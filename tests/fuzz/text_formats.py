"""text/ of stores that people hand over, made hostile: as it is written, and as it was."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import torch
from mutate import mutated_json
from run_formats import CLASSES, each, json_bytes, weights
from safetensors.torch import save
from sample_clips import SPEC, fill_store
from store_formats import sealed
from torch import Generator

from stepcli.cache import create_store, open_store
from stepcli.cache.storage.local import LocalPath
from stepcli.cache.tables.texts import copy_texts, write_text, wrong_texts
from stepcli.probe.data.features import store_layout
from stepcli.probe.data.text import stored_texts
from stepcli.probe.methods.registry import methods
from stepcli.runtime.sealed_json import seal, unseal


def make_texts(folder: Path) -> None:
    fill_store(folder, "zarr", 2)
    place = folder / "text" / "tower"
    place.mkdir(parents=True)
    tensors = {
        "labels": torch.ones(2, 4),
        "label_lengths": torch.ones(2),
        "templates": torch.ones(2, 1, 4),
        "units": torch.ones(3, 4),
        "logit_scale": torch.tensor(1.0),
        "cls_projection": torch.ones(4, SPEC.dim),
        "cls_norm.weight": torch.ones(SPEC.dim),
        "cls_norm.bias": torch.zeros(SPEC.dim),
    }
    data = save(tensors)
    (place / "text.safetensors").write_bytes(data)
    facts = {"sha256": hashlib.sha256(data).hexdigest(), "tower": "t", "classes": list(CLASSES)}
    (place / "text.json").write_text(json.dumps({**facts, "units": ["a", "b", "c"]}))


def use_texts(folder: Path) -> None:
    for text in stored_texts(folder):
        each(
            (
                lambda text=text: text.dim,  # type: ignore[misc]
                lambda text=text: text.labels(CLASSES),  # type: ignore[misc]
                lambda text=text: text.label_lengths(CLASSES),  # type: ignore[misc]
                lambda text=text: text.templates(CLASSES),  # type: ignore[misc]
                lambda text=text: text.unit_embeddings(),  # type: ignore[misc]
            )
        )
    layout = store_layout(open_store(folder), SPEC.frames, CLASSES)
    options = methods().get("zero-shot").options()
    methods().get("zero-shot").build(layout, 2, options, Generator())


def texts(folder: Path, random: random.Random) -> None:
    place = folder / "text" / "tower"
    facts = json.loads((place / "text.json").read_text())
    if random.random() < 0.5:
        (place / "text.json").write_bytes(json_bytes(json.dumps(facts).encode(), random))
        return
    data = weights((place / "text.safetensors").read_bytes(), random)
    (place / "text.safetensors").write_bytes(data)
    facts["sha256"] = hashlib.sha256(data).hexdigest()
    (place / "text.json").write_text(json.dumps(facts))


def make_sealed_texts(folder: Path) -> None:
    make_texts(folder)
    place = folder / "text" / "tower"
    facts = json.loads((place / "text.json").read_text())
    write_text(LocalPath(folder), "tower", facts, (place / "text.safetensors").read_bytes())


def sealed_texts(folder: Path, random: random.Random) -> None:
    path = folder / "text" / "tower" / "text.json"
    facts = unseal(path.read_bytes(), path)
    if random.random() < 0.5:
        path.write_bytes(sealed(mutated_json(facts, random)))
        return
    data = weights((path.parent / facts["file"]).read_bytes(), random)
    digest = hashlib.sha256(data).hexdigest()
    facts |= {"file": f"text-{digest}.safetensors", "sha256": digest}
    (path.parent / facts["file"]).write_bytes(data)
    path.write_bytes(seal(facts))


def use_sealed_texts(folder: Path) -> None:
    root = LocalPath(folder)
    each(
        (
            lambda: use_texts(folder),
            lambda: list(wrong_texts(root)),
            lambda: copy_texts(
                LocalPath(folder), create_store(folder / "copy", SPEC, dataset="x").path
            ),
            lambda: write_text(root, "tower", {}, b""),
        )
    )


FORMATS: dict[str, Any] = {
    "text": (make_texts, texts, use_texts),
    "sealed text": (make_sealed_texts, sealed_texts, use_sealed_texts),
}
