"""A finished run's probe, ready to be asked again."""

from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load

from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.storage.places import place_of
from stepcli.probe.data.features import deepest_last
from stepcli.probe.data.frame_choice import shown_frames
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.order_maps import order_map
from stepcli.probe.data.text import StoreText, stored_texts
from stepcli.probe.data.twins import joined_layout
from stepcli.probe.methods.registry import methods
from stepcli.probe.nn.bank import Probe
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.training.banks import build_probe
from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.code_files import is_code
from stepcli.runtime.errors import DamagedStore, UsageError
from stepcli.runtime.files import read_regular

WEIGHTS = "probe.safetensors"
LARGEST = 1 << 33
"""Bytes of a probe's weights: a larger file is refused unread."""


def spec_of_run(record: RunRecord) -> StoreSpec:
    """The spec of the tokens that a run was trained on.

    Raises:
        UsageError: the run has no record of it, or another version's.
    """
    if not record.spec:
        raise UsageError(
            f"run {record.run} has no record of its tokens: it was imported, or trained by an "
            "older stepcli; train it again"
        )
    try:
        # Through JSON: only there may strict mode read a list as the tuple that it was.
        return StoreSpec.model_validate_json(canonical_json(record.spec))
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UsageError(f"run {record.run}: its spec is not a store's: {reason}") from None


def layout_of_run(record: RunRecord, folder: Path) -> TokenLayout:
    """What a finished run's probe reads; of its store at most the texts are needed.

    Args:
        record: Of the run.
        folder: The run's; where it was exported, it holds the texts.

    Raises:
        UsageError: the run has no record of its tokens, or a probe that sees more than they are.
    """
    spec, task = spec_of_run(record), record.settings.task
    _, frames = shown_frames(task, spec.frames)
    layers = deepest_last(spec.layers) if task.layer is None else (task.layer,)
    texts = texts_of_run(record, folder)
    layout = TokenLayout(frames, spec.dim, spec.segments, layers, tuple(record.classes), texts)
    order = order_map(task.name)
    return joined_layout(layout) if order is not None and order.joins else layout


def texts_of_run(record: RunRecord, folder: Path) -> tuple[StoreText, ...]:
    """The texts that a run's method compares tokens with: beside it, or where its store was.

    Raises:
        UsageError: they are in object storage, to which a run by itself never connects.
    """
    known = methods()
    name = record.method
    if (
        not (is_code(name) or name in known.names())
        or "text embeddings" not in known.get(name).needs
    ):
        return ()
    if found := stored_texts(folder):
        return found
    place = place_of(record.store_place)
    if place.local is None:
        raise UsageError(
            f"{folder}: its texts are in {place / 'text'}; copy that folder to {folder / 'text'}"
        )
    return stored_texts(place)


def load_probe(folder: Path, record: RunRecord, layout: TokenLayout) -> Probe:
    """The probe of one run on the CPU, K = 1, not in training.

    Args:
        folder: The run's.
        record: Of the run.
        layout: Of the tokens that it will see.

    Raises:
        UsageError: there are no weights, as of an imported run, or they do not fit.
    """
    path = folder / WEIGHTS
    try:
        data = read_regular(path, LARGEST)
    except FileNotFoundError:
        raise UsageError(
            f"{folder} holds no trained probe ({WEIGHTS}); an imported run has none"
        ) from None
    except DamagedStore as error:
        raise UsageError(str(error)) from None
    config = record.settings
    package = config.options.get("package")
    if package and not is_code(config.method) and config.method not in methods().names():
        raise UsageError(
            f"run {record.run} needs the method {config.method} of the package {package}, which is "
            "not installed"
        )
    older = methods().get(config.method).options.before
    config = config.model_copy(update={"options": {**older, **config.options}})
    probe = build_probe(config, layout, len(record.classes))
    try:
        probe.load_state_dict(load(data))
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{path} does not hold the weights of this probe on these tokens: {reason:.200}"
        ) from None
    return probe.eval()
