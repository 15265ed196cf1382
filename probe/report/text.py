"""The report's sentences, each made from the runs' numbers alone."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from shlex import quote

from stepcli.probe.analysis.load_run import spec_of_run
from stepcli.probe.config import RunConfig, TaskConfig
from stepcli.probe.methods.registry import IDENTITY, methods
from stepcli.probe.report.report_data import (
    SINGLE_FRAMES,
    ReportEntry,
    Study,
    difference,
    shuffled_twins,
)
from stepcli.probe.report.tables import percent
from stepcli.probe.runs.compare import covered, no_interval
from stepcli.probe.runs.record import RunRecord
from stepcli.runtime.errors import UsageError


def verdict(study: Study) -> list[str]:
    """What the study shows at a glance; a gain from order is claimed only over the controls."""
    what = "forced choice between opposite classes" if study.has_pairs else "top-1"
    lines = []
    blind, control = study.best("order-blind"), study.best("control")
    sees = study.best("sees order", "imported")
    if blind is not None:
        chance = " (chance is 50 %)" if study.has_pairs else ""
        lines.append(
            f"Probes that do not see the order of frames reach at most {percent(blind.score)} % "
            f"{what}{chance}: {blind.label}."
        )
    singles = [e for e in study.of_kind("control") if e.analysis.method in SINGLE_FRAMES]
    single = max(singles, key=_score, default=None)
    if single is not None and single is not control:
        lines.append(f"The best single frame, {single.label}, reaches {percent(single.score)} %.")
    if control is not None:
        lines.append(
            f"The best trained control, {control.label}, reaches {percent(control.score)} %: "
            "that much is recognised without the order of all frames."
        )
    if sees is not None:
        reference = max((e for e in (blind, control) if e is not None), key=_score, default=None)
        steps = [e for e in study.of_kind("sees order") if e.analysis.method == "step"]
        step = max(steps, key=_score, default=sees)
        for entry in [sees] if step is sees else [sees, step]:
            lines.append(f"{entry.label}, which sees order, reaches {percent(entry.score)} %.")
            if reference is not None:
                lines.append(_gain(entry, reference))
        lines += [
            f"Trained on shuffled frames, {entry.analysis.method} reaches "
            f"{percent(twin.score)} % instead of {percent(entry.score)} %: it gains "
            f"{100 * (entry.score - twin.score):+.1f} points from order."
            for entry, twin in shuffled_twins(study)
            if entry.kind == "sees order"
        ]
        if control is None:
            lines.append(
                "No trained control (first-frame, last-frame, first-last, duration) is among the "
                "runs, so how much of this is owed to order is not known."
            )
    return lines


def _score(entry: ReportEntry) -> float:
    return entry.score


def _gain(sees: ReportEntry, reference: ReportEntry) -> str:
    gain = difference(sees, reference)
    if gain is None:
        return (
            f"{sees.label} and {reference.label} were tested on different samples: no difference."
        )
    text = f"Top-1 of {sees.label} minus {reference.label}: {100 * gain.mean:+.1f} points"
    if gain.low is None or gain.high is None:
        return f"{text} ({no_interval(gain)})."
    told = (
        "a gain"
        if gain.low > 0
        else "a loss"
        if gain.high < 0
        else "no difference is shown on these clips"
    )
    return (
        f"{text}, 95 % interval [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] over "
        f"{covered(gain)}: {told}."
    )


def protocol(study: Study) -> str:
    """How the numbers came about, as a paragraph for a paper."""
    records = [record for entry in study.entries for record in entry.found.records]
    own = [record for record in records if not record.imported]
    if not own:
        return "All models of this table are imported; their training is described elsewhere."
    known = [(record, found) for record in own if (found := _settings(record)) is not None]
    if not known:
        return "The settings of these runs were written by another version of stepcli."
    first, settings = known[0]
    task = settings.task
    seeds = sorted({len(e.found.records) for e in study.entries})
    parts = [f"All probes read frozen {first.backbone} tokens{_tokens(first)}, extracted once."]
    if task.temporal_crop:
        parts.append(
            f"They are trained on fresh contiguous crops of {task.clip_frames} of the stored "
            "frames, and tested on the first, the middle and the last crop."
        )
    if task.name == "arrow":
        parts.append(
            "Each clip is shown forward and backward; a backward clip takes the label of the "
            "opposite class, so that a probe that does not see order has 50 % within a pair."
        )
    epochs = sorted({found.shared.epochs for _, found in known})
    rates = sorted({found.recipe.lr for _, found in known})
    parts.append(
        f"Training: AdamW, {_list(epochs)} epochs, batches of {settings.shared.batch_size}, "
        f"learning rates {_list(rates)}, linear warm-up and cosine decay; no early stopping, the "
        "last epoch is tested."
    )
    scaled = any(e.analysis.calibration.after is not None for e in study.entries)
    parts.append(
        f"Results are means over {_list(seeds)} seeds on split {first.split!r} "
        f"({study.first.samples} samples in {study.first.top1.groups} groups of clips); intervals "
        "are 95 %, over groups of clips and seeds together (crossed variance components, quantile "
        "of t with Satterthwaite's degrees of freedom)."
    )
    if scaled:
        parts.append(
            "Temperatures were fitted on slices of the training clips that were held out by group."
        )
    if study.has_pairs:
        parts.append(
            "Forced choice: of the two logits of a pair of opposite classes the larger decides, "
            "over all samples of both; mean of the two recalls, then mean over pairs."
        )
    return " ".join(parts)


def _settings(record: RunRecord) -> RunConfig | None:
    """None of an imported run, and of another version's."""
    try:
        return record.settings
    except UsageError:
        return None


def _tokens(record: RunRecord) -> str:
    """ " (16 frames of 50 tokens ...)" as far as the run says."""
    try:
        spec = spec_of_run(record)
    except UsageError:
        return ""
    return (
        f" ({spec.frames} frames of {sum(s.count for s in spec.segments)} tokens with {spec.dim} "
        f"channels, {spec.dtype}, sampling {spec.sampling})"
    )


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def versions(study: Study) -> list[str]:
    """Libraries and machines of the runs, each once."""
    lines = [f"report: stepcli {version('stepcli')}, matplotlib {version('matplotlib')}"]
    for entry in study.entries:
        for record in entry.found.records:
            if record.versions:
                libraries = ", ".join(f"{n} {v}" for n, v in record.versions.items())
                machine = record.hardware
                where = machine.gpu or f"{machine.cores} cores, {machine.machine}"
                lines.append(f"runs: {libraries}; {where}")
    lines.append(f"tokens: fingerprint {study.entries[0].found.first.fingerprint}")
    return list(dict.fromkeys(lines))


_TASK_FLAGS = (
    *("clip_frames", "observed", "views", "frame_order", "directions", "shots", "protocol"),
    *("train_split", "test_split", "split_file"),
)
_FOUND_BY_ITSELF = ("slice_seed", "draw_seed", "split_digest")


def _task_words(task: TaskConfig) -> list[str]:
    """Flags for what differs from a plain task; what has no flag is named for a sweep's file."""
    usual = TaskConfig().model_dump(mode="json")
    words = [f"--task {task.name}"] if task.name != usual["name"] else []
    for name, value in task.model_dump(mode="json").items():
        if name in ("name", *_FOUND_BY_ITSELF) or value == usual.get(name):
            continue
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif name in _TASK_FLAGS:
            words.append(f"{flag} {quote(str(value))}")
        else:
            words.append(f"# in a sweep's file: task: {{{name}: {json.dumps(value)}}}")
    return words


def commands(study: Study) -> list[str]:
    """Commands that train such runs again, one a configuration; defaults are left out."""
    lines = []
    for entry in study.entries:
        record = entry.found.first
        method = record.method
        if (imported := record.imported) is not None:
            lines.append(f"stepcli results import {quote(imported.file)} --name {quote(method)}")
            continue
        if (config := _settings(record)) is None:
            lines.append(f"# {record.run}: its settings were written by another version of stepcli")
            continue
        words = [f"stepcli probe --method {quote(method)} --seeds {len(entry.found.records)}"]
        of_task = _task_words(config.task)
        words += [word for word in of_task if not word.startswith("#")]
        words.append(f"--epochs {config.shared.epochs} --batch-size {config.shared.batch_size}")
        words.append(f"--lr {config.recipe.lr:g} --weight-decay {config.recipe.weight_decay:g}")
        usual = methods().usual_options(method)
        words += [
            f"--set {quote(f'{name}={value}')}"
            for name, value in config.options.items()
            if usual.get(name) != value and name not in IDENTITY
        ]
        words += [word for word in of_task if word.startswith("#")]
        lines.append(" ".join(words))
    return lines
