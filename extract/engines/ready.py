"""One `stepcli extract` up to where its store is opened or made: models, place, space."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepcli.cache import open_store
from stepcli.cache.schema.spec import require_same_spec
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.locate import is_store
from stepcli.cache.store.store import Store
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.pipeline.clip_list import ClipList
from stepcli.extract.pipeline.default_store import choose_store, default_store, unrooted_name
from stepcli.extract.pipeline.prepare import Prepared, prepare
from stepcli.extract.pipeline.space import Amount, Need, require_space
from stepcli.extract.pipeline.summary import say, say_notes
from stepcli.extract.pipeline.window_counts import WindowCounts
from stepcli.runtime.device_names import require_device_name


@dataclass(frozen=True, slots=True)
class ReadyRun:
    """A run whose models are loaded, before its store is opened or made."""

    config: ExtractConfig
    prepared: Prepared
    embed: Callable[[Store], StoragePath] | None
    place: Path | str
    """Of the store."""
    counts: WindowCounts | None
    """Of a run on recordings."""


def make_ready(config: ExtractConfig, listed: ClipList) -> ReadyRun:
    """Load the backbone and choose the store; nothing is written yet."""
    prepared = prepare(config if config.engine == "local" else _on_head(config))
    embed = _text_job(config) if config.text else None
    place = _place(config, listed.dataset, listed.clips, prepared)
    if is_store(place):
        require_same_spec(open_store(place).spec, prepared.spec, str(place))
    counts = None if config.windows is None else WindowCounts(prepared.spec)
    return ReadyRun(config, prepared, embed, place, counts)


def needs_of_new(ready: Sequence[ReadyRun], listed: ClipList) -> list[Need]:
    """Of the stores that are not there yet: one that is made and then does not fit would hold a
    later run to its settings.
    """
    return [
        Need(each.place, each.prepared.spec, amount_of(each, listed.clips)[0])
        for each in ready
        if not is_store(each.place) and not each.config.dry_run
    ]


def amount_of(
    ready: ReadyRun, left: Sequence[Clip], share: Sequence[Clip] | None = None
) -> tuple[Amount, Mapping[str, int]]:
    """How much of some clips or recordings is to be stored; see `WindowCounts.expected`."""
    if ready.counts is not None:
        return ready.counts.expected(left, share)
    noun = "view" if any(clip.views for clip in left) else "clip"
    return Amount(sum(len(clip.stored_ids) for clip in left), noun=noun), {}


def _on_head(config: ExtractConfig) -> ExtractConfig:
    """The settings with which the driver of a cluster prepares: its own machine needs no GPU."""
    require_device_name(config.device)
    return config.model_copy(update={"device": "cpu"})


def _place(
    config: ExtractConfig, dataset: Dataset, clips: Sequence[Clip], prepared: Prepared
) -> Path | str:
    if config.store:
        return config.store
    own = default_store(config, None if dataset.bundled else dataset.root)
    place, notes = choose_store(own, unrooted_name(config), dataset, clips, prepared.spec)
    say_notes(notes)
    return place


def _text_job(config: ExtractConfig) -> Callable[[Store], StoragePath]:
    """Load the text tower and the texts now, so that errors come before the run."""
    from stepcli.extract.datasets.unit_files import units_of
    from stepcli.extract.pipeline.text_embeddings import load_text_tower, read_templates, store_text

    tower = load_text_tower(config.text or "")
    templates = read_templates(config.prompts)
    units = units_of(config.dataset, config.units)
    return lambda store: store_text(store, tower, templates, units)


def check_space(needs: Sequence[Need], warnings: list[str]) -> None:
    """Refuse what does not fit; print what may not fit, and add it to the warnings.

    Raises:
        UsageError: see `require_space`.
    """
    for line in require_space(needs):
        if line not in warnings:
            say(f"warning: {line}")
            warnings.append(line)
