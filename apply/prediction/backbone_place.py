"""Where the backbone of trained probes is now.

A spec names a local backbone by its folder's name alone. Its place is recorded by the parts of the
store, and by the runs. Each folder found so is only taken if its weights are the spec's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stepcli.cache.maintenance.summary import weight_sources
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.store.store import open_store
from stepcli.extract.backbones.base import Backbone, BackboneError
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.names import PREFIX
from stepcli.runtime.errors import StoreError, UsageError


def backbone_of_runs(
    given: str | None, spec: StoreSpec, records: Sequence[dict[str, Any]]
) -> Backbone:
    """Load the backbone that made the tokens of some runs.

    Args:
        given: Name or place from the user; None: what the runs and their stores recorded.
        spec: Of the tokens.
        records: Of the runs.

    Raises:
        BackboneError: the backbone is not where it was, or cannot be loaded.
    """
    if given is not None:
        return load_backbone(given)
    if not spec.backbone.startswith(PREFIX) or "/" in spec.backbone:
        return load_backbone(spec.backbone)  # of the hub
    looked: dict[str, str] = {}
    """Places, and what was found there."""
    for place in _recorded(records):
        if place in looked:
            continue
        looked[place] = ""
        if Path(place).is_dir():
            backbone = load_backbone(f"{PREFIX}{place}")
            if backbone.weights_digest == spec.weights_digest:
                return backbone
            looked[place] = " (other weights now)"
    try:
        return load_backbone(spec.backbone)
    except UsageError as error:
        places = " and in ".join(place + found for place, found in looked.items())
        raise BackboneError(
            f"backbone {spec.backbone} of the runs is a folder that is not found"
            f"{f'; it was in {places}' if places else ''}; say where it is now with "
            f"--backbone hf:<folder> ({error})"
        ) from error


def _recorded(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Places of weights by the runs, then by their stores, which may be gone."""
    for record in records:
        weights = record.get("weights", ())
        yield from (str(place) for place in weights if isinstance(weights, list))
    for store in dict.fromkeys(str(record.get("store", "")) for record in records):
        if store and Path(store).is_dir():  # one in object storage is not asked
            try:
                yield from weight_sources(open_store(Path(store)))
            except (StoreError, OSError):
                continue
