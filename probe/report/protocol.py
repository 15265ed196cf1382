"""How a study's numbers came about: the protocol as a paragraph for a paper, and versions."""

from collections.abc import Sequence
from importlib.metadata import version

from stepcli.probe.analysis.load_run import spec_of_run
from stepcli.probe.config import DataConfig, OptimConfig, RunConfig, TaskConfig
from stepcli.probe.data.order_maps import order_map
from stepcli.probe.report.commands import settings_of
from stepcli.probe.report.report_data import Study
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.runs.stats import FEWEST_GROUPS
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted


def protocol(study: Study) -> str:
    """How the numbers came about, as a paragraph for a paper: what was done with these runs."""
    records = [record for entry in study.entries for record in entry.found.records]
    own = [record for record in records if not record.imported]
    if not own:
        return "All models of this table are imported; their training is described elsewhere."
    known = [(record, found) for record in own if (found := settings_of(record)) is not None]
    if not known:
        return "The settings of these runs were written by another version of stepcli."
    first = known[0][0]
    parts = [f"All probes read frozen {first.backbone} tokens{_tokens(first)}, extracted once."]
    if len(own) < len(records):
        parts.append("Imported models were trained elsewhere.")
    parts += _task_sentences([found.task for _, found in known])
    parts += _training_sentences(known)
    parts.append(_averages(study, first.split))
    if first.part is not None and first.held_group is None:
        tested = study.entries[0].found.tested_on
        parts.append(
            f"Official splits ({tested}): one probe for each, trained on that split alone; numbers "
            "are over the test clips of all of them."
        )
    if study.entries[0].found.leaves_a_group_out:
        parts.append(
            "Each group is tested by a probe of its own, trained on all other groups; top-1 is the "
            "mean over groups, whatever their sizes."
        )
    if any(e.analysis.calibration.after is not None for e in study.entries):
        parts.append(
            "Temperatures were fitted on slices of the training clips that were held out by group."
        )
    if study.has_pairs:
        parts.append(
            "Forced choice: of the two logits of a pair of opposite classes the larger decides, "
            "over all samples of both; mean of the two recalls, then mean over pairs."
        )
    return " ".join(parts)


def _task_sentences(tasks: Sequence[TaskConfig]) -> list[str]:
    """What was shown and tested; with a note where only some rows did it."""
    crops = {task.clip_frames or 0 for task in tasks if task.temporal_crop}
    parts = [
        f"{_rows([t.temporal_crop and t.clip_frames == n for t in tasks])} are trained on "
        f"random contiguous crops of {n} of the stored frames, and tested on the first, the middle "
        "and the last crop."
        for n in sorted(crops)
    ]
    parts += [
        f"{_rows([t.jitter and t.clip_frames == n for t in tasks])} are trained on a random "
        f"frame of each of {n} equal stretches, and tested on the middle ones."
        for n in sorted({task.clip_frames or 0 for task in tasks if task.jitter})
    ]
    if tasks[0].name == "arrow":
        parts.append(
            "Each clip is shown forward and backward; a backward clip takes the label of the "
            "opposite class, so that a probe that does not see order has 50 % within a pair."
        )
    if (order := order_map(tasks[0].name)) is not None:
        parts.append(
            f"The task {order.name} asks for this: {order.asks}. Each draw of a clip is shown "
            "under both labels of a pair, with the same frames in another order, so that a probe "
            "that does not see order has 50 % within a pair."
        )
    if any(task.observed < 1 for task in tasks):
        shares = _list(sorted({100 * task.observed for task in tasks if task.observed < 1}))
        parts.append(
            f"{_rows([t.observed < 1 for t in tasks])} see the first {shares} % of the frames."
        )
    if any(task.frame_order == "shuffled" for task in tasks):
        who = _rows([t.frame_order == "shuffled" for t in tasks])
        parts.append(f"{who} are trained on a random order of the frames and tested on their own.")
    if any(task.subsampled for task in tasks):
        who = _rows([t.subsampled for t in tasks])
        parts.append(
            f"{who} are trained on a part of the training clips, drawn anew for each seed."
        )
    return parts


def _rows(does: Sequence[bool]) -> str:
    """The subject of a sentence: all probes, or only the rows that the table names so."""
    return "They" if all(does) else "Some rows of the table (see their names)"


def _training_sentences(known: Sequence[tuple[RunRecord, RunConfig]]) -> list[str]:
    """Of the methods that gradient descent trains; and which others there are."""
    trained = [found for record, found in known if record.losses]
    fitted = sorted({record.method for record, _ in known if not record.losses})
    parts = []
    if trained:
        recipes = [found.recipe for found in trained]
        shared = [found.shared for found in trained]
        warm_up = _list(sorted({100 * recipe.warmup for recipe in recipes}))
        parts.append(
            f"Training: AdamW, {_list(_epochs(known))} epochs, batches of "
            f"{_list(sorted({each.batch_size for each in shared}))}, learning rates "
            f"{_list(sorted({recipe.lr for recipe in recipes}))}, weight decay "
            f"{_list(sorted({recipe.weight_decay for recipe in recipes}))}, label smoothing "
            f"{_list(sorted({recipe.label_smoothing for recipe in recipes}))}; the rate rises "
            f"linearly over the first {warm_up} % of the steps and then falls along a cosine to "
            "zero. No early stopping: the last epoch is tested."
        )
        said = ("lr", "weight_decay", "label_smoothing", "warmup", "epochs", "steps", "batch_size")
        unusual = [
            f"{name.replace('_', ' ')} {_list(values)}"
            for model, configs in ((OptimConfig, recipes), (DataConfig, shared))
            for name, field in model.model_fields.items()
            if name not in said
            and (values := list(dict.fromkeys(getattr(config, name) for config in configs)))
            != [field.default]
        ]
        parts += [f"Further settings: {'; '.join(unusual)}."] if unusual else []
    if fitted:
        parts.append(f"Without gradient descent: {', '.join(fitted)}.")
    return parts


def _epochs(known: Sequence[tuple[RunRecord, RunConfig]]) -> list[int]:
    """As many as each run has had: a number of steps makes them differ."""
    return sorted({len(record.losses) for record, _ in known if record.losses})


def _averages(study: Study, split: str) -> str:
    """What a number is the mean of, and whether there is an interval around it."""
    counts = sorted({entry.found.seeds for entry in study.entries})
    several = counts[-1] > 1
    seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    groups = study.first.top1.groups
    means = f"Results are means over {seeds} seeds" if several else "Results are of one seed"
    text = (
        f"{means} on split {split!r} ({counted(study.first.samples, 'sample')} in "
        f"{counted(groups, 'group')} of clips)"
    )
    if all(entry.analysis.top1.low is None for entry in study.entries):
        return f"{text}; no intervals are given, since there are fewer than {FEWEST_GROUPS} groups."
    over = (
        "over groups of clips and seeds together (crossed variance components, quantile of t with "
        "Satterthwaite's degrees of freedom)"
        if several
        else "over groups of clips (quantile of t)"
    )
    return f"{text}; intervals are 95 %, {over}."


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
