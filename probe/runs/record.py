"""The record of a run, <runs>/<run id>/run.json: read, written and checked here alone.

A run may come from anybody and from any version. Fields that this version does not know are kept
and ignored, fields that earlier versions did not write have defaults, and `config` stays as it was
written: `settings` is what this version makes of it.
"""

import json
from contextlib import suppress
from pathlib import Path

from pydantic import (
    BaseModel,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from stepcli.probe.config import RunConfig
from stepcli.probe.runs.record_parts import (
    CleanScores,
    Count,
    Duration,
    Hardware,
    Imported,
    LeakageCounts,
    Part,
    Share,
)
from stepcli.runtime.errors import DamagedStore, UsageError
from stepcli.runtime.files import read_regular
from stepcli.runtime.json_files import is_plain
from stepcli.runtime.sealed_json import SEALED_LIMIT
from stepcli.runtime.settings import JsonObject

FILE = "run.json"
TOP = 5


class RunRecord(Part, BaseModel):
    """One finished run. Fields with a default are missing in runs of some versions."""

    run: str
    """Name of its folder."""
    identity: str = ""
    """What the name abbreviates (`RunConfig.run_id`); empty where the name is all of it."""
    method: str
    task: str
    config: JsonObject
    seed: Count
    split: str
    top1: Share
    """Of --task multi-label the share of samples whose best class is one of their labels."""
    top5: Share
    mean_class: Share | None
    """None of --task multi-label."""
    forced_choice: Share | None
    """Mean over pairs; None without any."""
    mean_ap: Share | None = None
    """Of --task multi-label: mean over classes of the average precision; else None."""
    base_top1: Share = 0.0
    """Of the protocol base-to-novel, as the next two."""
    novel_top1: Share = 0.0
    harmonic: Share = 0.0
    mean_class_recall5: Share | None = None
    """Of --task anticipate: mean over classes of the recall among five answers; else None."""
    params: Count
    """Trainable parameters."""
    seconds: Duration
    """Its share of the training pass."""
    seconds_an_epoch: Duration = 0.0
    multiply_adds: Count = 0
    bytes_a_clip: Count = 0
    fingerprint: str
    """Of the tokens."""
    tables: str = ""
    """Digest of the labels, splits and groups of its clips, `table_digest`; empty where the version
    that wrote the run did not record it."""
    tested_tokens: str = ""
    """The same of the clips alone that it was tested on: clips that are added later do not change
    it; empty where the version that wrote the run did not keep it."""
    dataset: str = ""
    backbone: str = ""
    weights: list[str] = []
    """Where the backbone's weights were: folders, or repositories with their revision."""
    store: str = ""
    spec: JsonObject = {}
    """The store's; empty where it is not known."""
    classes: list[str]
    pairs: list[list[str]]
    """Nearly symmetric classes, two names each."""
    train_clips: Count = 0
    test_samples: Count = 0
    losses: list[float] = []
    """Mean training loss of each epoch."""
    warnings: list[str] = []
    leakage: LeakageCounts | None = None
    """None where the version that wrote the run did not look for it."""
    code_schema: Count = 0
    versions: dict[str, str] = {}
    hardware: Hardware = Hardware()
    shuffling: str = ""
    """How finely training samples were shuffled where tokens were streamed; "" for fully."""
    finished: str = ""
    clip_seconds: Duration | None = None
    """Median length of the training clips, of an exported probe, which has no store any more."""

    @field_validator("config")
    @classmethod
    def _sections_are_objects(cls, config: JsonObject) -> JsonObject:
        if not isinstance(config.get("task", {}), dict):
            raise ValueError(f"config.task is {config['task']!r:.60}")
        if "imported" in config and not _is_imported(config["imported"]):
            raise ValueError(f"config.imported is {config['imported']!r:.60}")
        return config

    @model_validator(mode="after")
    def _free_formis_plain(self) -> "RunRecord":
        free = {"config": self.config, "spec": self.spec, **self.__pydantic_extra__}
        for name, value in free.items():
            if not is_plain(value):
                raise ValueError(
                    f"{name} is {value!r:.60}: expected finite numbers, plainly nested"
                )
        return self

    @model_validator(mode="after")
    def _pairs_are_of_classes(self) -> "RunRecord":
        known = set(self.classes)
        for pair in self.pairs:
            if len(pair) != 2 or not known.issuperset(pair):
                raise ValueError(f"pair {pair!r:.60} is not of two of its classes")
        return self

    @property
    def settings(self) -> RunConfig:
        """What was trained.

        Raises:
            UsageError: another version of stepcli wrote it, or the run was imported.
        """
        try:
            return RunConfig.model_validate(self.config)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UsageError(
                f"run {self.run}: this stepcli does not know its setting {place} "
                f"({first['msg']}); use the version that trained it, or train it again"
            ) from None

    @property
    def task_settings(self) -> JsonObject:
        """Fields of the task as they were written; {} of an imported run."""
        task = self.config.get("task", {})
        assert isinstance(task, dict)
        return task

    @property
    def several_labels(self) -> bool:
        """Whether its clips have any number of labels, and its number is mAP."""
        return self.mean_ap is not None

    @property
    def headline(self) -> float:
        """What runs of one task are compared and chosen by: top-1, or mAP."""
        return self.top1 if self.mean_ap is None else self.mean_ap

    @property
    def held_group(self) -> str | None:
        """Of leave-one-group-out the group that was tested."""
        group = self.task_settings.get("held_group")
        return group if isinstance(group, str) else None

    @property
    def part(self) -> str | None:
        """The group that was tested, or the official split, where results are means over those."""
        found = self.held_group or self.task_settings.get("split")
        return found if isinstance(found, str) else None

    @property
    def tested_on(self) -> str:
        """The split, and of several official ones which: "test, split 2"."""
        official = self.part is not None and self.held_group is None
        return f"{self.split}, split {self.part}" if official else self.split

    @property
    def on_slice(self) -> bool:
        """Whether it was tested on a held-out slice or fold of train."""
        return self.task_settings.get("slice_seed") is not None

    @property
    def imported(self) -> Imported | None:
        """Of a run that was not trained here."""
        found = self.config.get("imported")
        return None if found is None else Imported.model_validate(found)

    @property
    def store_place(self) -> str:
        """Where the store of its tokens was: a folder, or a URL.

        Raises:
            UsageError: the run does not say.
        """
        if not self.store:
            raise UsageError(f"run {self.run} does not say where its store was; give --store")
        return self.store

    @property
    def copied_test_clips(self) -> int | None:
        """Test clips that are copies of training clips; None where copies were not counted."""
        return None if self.leakage is None else self.leakage.copied_clips

    @property
    def without_copies(self) -> CleanScores | None:
        """The numbers without them; None where there are none, or copies were not counted."""
        return None if self.leakage is None else self.leakage.without_copies

    @property
    def top1_without_copies(self) -> float | None:
        """Top-1 of those numbers."""
        return None if self.without_copies is None else self.without_copies.top1

    def encode(self) -> bytes:
        """The file: what was given, in the order of the fields."""
        content = self.model_dump(mode="json", exclude_unset=True)
        return json.dumps(content, indent=1, allow_nan=False).encode()


def _is_imported(found: JsonValue) -> bool:
    with suppress(ValidationError):
        return bool(Imported.model_validate(found))
    return False


def tells_top5(record: RunRecord) -> bool:
    """Whether top-5 says anything: of five classes or fewer, the first five are all of them."""
    return len(record.classes) > TOP


def is_done(runs: Path, run: str) -> bool:
    """Whether a run's folder is there; it appears only once it is whole."""
    return (runs / run / FILE).is_file()


def read_runs(runs: Path, *, slices: bool = False) -> list[RunRecord]:
    """Every finished run below a folder, by method, task and seed.

    Args:
        runs: The folder.
        slices: Whether to include runs that were tested on a held-out slice of train.

    Raises:
        UsageError: the folder is not there, holds no run, or a run.json cannot be read.
    """
    if not runs.is_dir():
        raise UsageError(f"no runs folder {runs}; train with stepcli probe, or give --runs")
    found = [read_run(path) for path in sorted(runs.glob(f"[!.]*/{FILE}"))]
    if not slices:
        found = [record for record in found if not record.on_slice]
    if not found:
        raise UsageError(f"{runs} holds no finished run; train with stepcli probe, or give --runs")
    return sorted(found, key=lambda r: (r.task, r.method, r.seed, r.run))


def read_run(path: Path) -> RunRecord:
    """One finished run.

    Args:
        path: Its run.json, in a folder of the run's name.

    Raises:
        UsageError: the file is not what a run writes.
    """
    try:
        record = parse_run(read_regular(path, SEALED_LIMIT))
    except (ValueError, DamagedStore) as error:
        raise UsageError(f"{path} is not a run's JSON ({error}); delete its folder") from None
    if record.run != path.parent.name:
        raise UsageError(f"{path} says run {record.run!r}; its folder must have the same name")
    return record


def parse_run(data: bytes) -> RunRecord:
    """A record from the bytes of its file.

    Raises:
        ValueError: it is none; the message names the first field that does not fit.
    """
    try:
        return RunRecord.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return _with_surrogates(data)
    raise ValueError(_problem(first, json.loads(data)))


def _with_surrogates(data: bytes) -> RunRecord:
    """Like `parse_run`, of strings with lone surrogates: paths that hold bytes that are no UTF-8,
    which only Python's own parser takes."""
    try:
        content = json.loads(data)
        return RunRecord.model_validate(content)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    except ValidationError as error:
        raise ValueError(_problem(error.errors(include_url=False)[0], content)) from None


def _problem(error: ErrorDetails, content: JsonValue) -> str:
    if not isinstance(content, dict):
        return f"expected an object, found {type(content).__name__}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    name = str(error["loc"][0])
    return f"{name} is {content[name]!r:.60}" if name in content else f"{name} is missing"
