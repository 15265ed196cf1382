"""Where the backbone of trained probes is now.

A spec names a local backbone by its folder's or file's name alone. Its place is recorded by parts
of the store, and by runs. Each place found so is only taken if its weights, and the code of a
file, are the spec's; a file of code is only executed if the user trusts it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.store.store import open_store
from stepcli.cache.store.summary import weight_sources
from stepcli.extract.backbones.base import Backbone, BackboneError
from stepcli.extract.backbones.custom_backbone import OPTION
from stepcli.extract.backbones.load import load_backbone, load_recorded_backbone
from stepcli.extract.backbones.names import PREFIX
from stepcli.probe.runs.record import RunRecord
from stepcli.runtime.code_files import is_code, read_code
from stepcli.runtime.errors import StoreError, UsageError


def backbone_of_runs(given: str | None, spec: StoreSpec, records: Sequence[RunRecord]) -> Backbone:
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
    if is_code(spec.backbone):
        return _from_code(spec, records)
    if not spec.backbone.startswith(PREFIX) or "/" in spec.backbone:
        return load_recorded_backbone(spec.backbone)  # of the hub
    looked: dict[str, str] = {}
    """Places, and what was found there."""
    for place in _recorded(records):
        if place in looked:
            continue
        looked[place] = ""
        if Path(place).is_dir():
            backbone = load_recorded_backbone(f"{PREFIX}{place}")
            if backbone.weights_digest == spec.weights_digest:
                return backbone
            looked[place] = " (other weights now)"
    try:
        return load_recorded_backbone(spec.backbone)
    except UsageError as error:
        places = " and in ".join(place + found for place, found in looked.items())
        raise BackboneError(
            f"backbone {spec.backbone} of the runs is a folder that is not found"
            f"{f'; it was in {places}' if places else ''}; say where it is now with "
            f"--backbone hf:<folder> ({error})"
        ) from error


def _from_code(spec: StoreSpec, records: Sequence[RunRecord]) -> Backbone:
    """The backbone that a file of code builds, from the first place where it is as it was."""
    looked: dict[str, str] = {}
    for place in dict.fromkeys((*_recorded(records), spec.backbone)):
        if not is_code(place):
            continue
        looked[place] = ""
        if not Path(place.rpartition(":")[0]).is_file():
            continue
        if read_code(place, OPTION).sha256 != spec.code_digest:
            looked[place] = " (other code now)"
            continue
        backbone = load_recorded_backbone(place)
        if backbone.weights_digest == spec.weights_digest:
            return backbone
        looked[place] = " (other weights now)"
    places = ", ".join(place + found for place, found in looked.items())
    raise BackboneError(
        f"backbone {spec.backbone} of the runs is not found; looked at {places}; restore the file "
        f"with sha256 {spec.code_digest}, or say where it is with --backbone path/{spec.backbone}"
    )


def _recorded(records: Sequence[RunRecord]) -> Iterator[str]:
    """Places of weights by the runs, then by their stores, which may be gone."""
    for record in records:
        yield from record.weights
    for store in dict.fromkeys(record.store for record in records):
        if store and Path(store).is_dir():  # one in object storage is not asked
            try:
                yield from weight_sources(open_store(Path(store)))
            except (StoreError, OSError):
                continue
