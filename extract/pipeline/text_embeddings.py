"""Label prompts and semantic units through a text tower, stored beside the tokens.

A store then holds, in text/<tower>/:
- text-<sha256>.safetensors: `labels` [C, D] (unit length; the mean over templates, made unit
  length again), `templates` [C, P, D] (each template's own), `label_lengths` [C] (mean over
  templates, before they were made unit length), `units` [U, D] where units were given,
  `logit_scale`;
  for CLIP also what takes a stored CLS token to the same space: `cls_norm.weight`,
  `cls_norm.bias`, `cls_projection` [D, D_vision];
- text.json: the tower, its source, the templates, every text as it was embedded, and the
  safetensors file's name and sha256 (see stepcli.cache.tables.texts).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save
from torch import Tensor

from stepcli.cache.schema.clips import ClassRow
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.store import Store
from stepcli.cache.tables.texts import write_text
from stepcli.extract.backbones.base import BackboneError
from stepcli.extract.backbones.failures import loading_errors
from stepcli.extract.backbones.hf import require_plain_rgb, split_source
from stepcli.extract.backbones.hub import require_cached_or_reachable
from stepcli.extract.backbones.names import BACKBONES, PREFIX, source_of, stored_name
from stepcli.extract.datasets.unit_files import read_texts
from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import disk_errors

BATCH = 256
TOWERS = {"clip": "CLIPModel", "siglip": "SiglipModel"}


@dataclass(frozen=True, slots=True)
class TextTower:
    """The text half of a two-tower model."""

    name: str
    source: str
    model: Any
    tokenizer: Any
    length: int
    """Tokens that a text may have; longer ones are cut, as the model's authors do."""

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Texts -> [n, D] float32 of unit length."""
        return torch.nn.functional.normalize(self.features(texts), dim=-1)

    @torch.inference_mode()
    def features(self, texts: Sequence[str]) -> Tensor:
        """Texts -> [n, D] float32, as long as the tower makes them."""
        done = []
        for start in range(0, len(texts), BATCH):
            # SigLIP was trained on texts padded to the full length; CLIP does not mind.
            inputs = self.tokenizer(
                list(texts[start : start + BATCH]),
                padding="max_length",
                max_length=self.length,
                truncation=True,
                return_tensors="pt",
            )
            if self.model.config.model_type == "siglip":
                inputs = {"input_ids": inputs["input_ids"]}  # trained without a mask
            done.append(self.model.get_text_features(**inputs).pooler_output.float())
        return torch.cat(done)

    def weights_beside(self) -> dict[str, Tensor]:
        """What a probe needs to compare stored tokens with texts."""
        found = {"logit_scale": self.model.logit_scale.detach().reshape(1)}
        if self.model.config.model_type == "clip":
            norm = self.model.vision_model.post_layernorm
            found["cls_norm.weight"] = norm.weight.detach()
            found["cls_norm.bias"] = norm.bias.detach()
            found["cls_projection"] = self.model.visual_projection.weight.detach()
        else:
            found["logit_bias"] = self.model.logit_bias.detach().reshape(1)
        return found


def load_text_tower(name: str) -> TextTower:
    """Load CLIP or SigLIP with its tokenizer, by short name, folder or OWNER/NAME.

    Raises:
        UnknownName: no such short name.
        BackboneError: missing, gated, incomplete, or a model without a text tower.
    """
    place, revision = split_source(source_of(name))
    with loading_errors(f"--text {name}", place):
        require_cached_or_reachable(place, revision)
        config = transformers.AutoConfig.from_pretrained(
            place, revision=revision, trust_remote_code=False
        )
        require_plain_rgb(config)
        kind = TOWERS.get(config.model_type)
        if kind is None:
            raise BackboneError(
                f"--text {name}: a {config.model_type} has no text tower; "
                "expected a CLIP or a SigLIP, e.g. clip-b16"
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            place, revision=revision, trust_remote_code=False
        )
        model, report = getattr(transformers, kind).from_pretrained(
            place,
            revision=revision,
            trust_remote_code=False,
            use_safetensors=None if name in BACKBONES else True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        length = int(config.text_config.max_position_embeddings)
    if report["missing_keys"]:
        raise BackboneError(f"--text {name}: {place} lacks {len(report['missing_keys'])} weights")
    commit = getattr(config, "_commit_hash", None)
    return TextTower(
        name=stored_name(name),
        source=f"{place}@{commit}" if commit else place,
        model=model.eval(),
        tokenizer=tokenizer,
        length=length,
    )


def read_templates(file: Path | None) -> list[str]:
    """Prompt templates, each with one {} where the label goes; the bare label when no file is
    given, as X-CLIP does it."""
    if file is None:
        return ["{}"]
    templates = read_texts(file, "--prompts")
    for template in templates:
        if template.count("{}") != 1:
            raise UsageError(f"--prompts: {file}: expected one {{}} in {template!r}")
    return templates


def label_text(row: ClassRow) -> str:
    """What a class is called in a prompt: its own prompt text, else its name in plain words."""
    return row.prompt or row.name.replace("_", " ").replace("-", " ")


def store_text(
    store: Store, tower: TextTower, templates: Sequence[str], units: Sequence[str]
) -> StoragePath:
    """Embed a store's class labels, and semantic units, and write them beside the tokens.

    Returns:
        The folder written to; what was there from the same tower is replaced.

    Raises:
        UsageError: a store without classes.
    """
    classes = store.classes()
    if not classes:
        raise UsageError(f"the store {store.path} has no classes to embed")
    labels = [label_text(row) for row in classes]
    prompts = [template.replace("{}", label) for label in labels for template in templates]
    features = tower.features(prompts).reshape(len(labels), len(templates), -1)
    each = torch.nn.functional.normalize(features, dim=-1)
    tensors = {
        "label_lengths": features.norm(dim=-1).mean(dim=1),
        "templates": each,
        "labels": torch.nn.functional.normalize(each.mean(dim=1), dim=-1),
        **tower.weights_beside(),
    }
    if units:
        tensors["units"] = tower.embed(units)
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    facts = {
        "tower": tower.name,
        "source": tower.source,
        "templates": list(templates),
        "classes": [row.name for row in classes],
        "labels": labels,
        "units": list(units),
    }
    name = tower.name.removeprefix(PREFIX).rpartition("/")[2]
    with disk_errors(store.path):
        return write_text(store.path, name, facts, data)
