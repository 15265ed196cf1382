"""What is asked of a probe: its task, its clips and frames. Options of `probe` and `sweep`."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from stepcli.runtime.csv_tables import LARGEST
from stepcli.runtime.errors import DamagedStore, UsageError
from stepcli.runtime.files import read_regular
from stepcli.runtime.settings import FrozenConfig, Setting

TaskName = Literal[
    "classify",
    "multi-label",
    "dense",
    "anticipate",
    "arrow",
    "there-and-back",
    "random-onset",
    "distractors",
    "twins",
    "sawtooth",
]
ORDER_SUITE: tuple[TaskName, ...] = (
    *("arrow", "there-and-back", "random-onset", "distractors", "twins", "sawtooth"),
)
"""Tasks that show each clip under two labels with the same frames."""
MULTI_LABEL: TaskName = "multi-label"
"""The task whose clips have any number of labels."""
GROUP_SPLIT = "leave-one-group-out"
"""The protocol, and what its runs report on in place of a split."""
CLIPS, FRAMES = "Splits and clips", "Frames and views"


class TaskConfig(FrozenConfig):
    """What is asked of a probe; fields without a Setting are set by a sweep's file or the code."""

    name: Annotated[
        TaskName,
        Field(
            description="arrow: each clip forward and backward, telling opposite classes apart; "
            "there-and-back, random-onset, distractors, twins, sawtooth: other kinds of order "
            "(docs/order-suite.md); multi-label: any number of labels per clip, by mean average "
            "precision; dense: windows of recordings, for stepcli "
            "dense; anticipate: the action that starts --horizon seconds after a window."
        ),
        Setting(flag="--task"),
    ] = "classify"
    horizon: Annotated[
        float | None,
        Field(
            ge=0,
            description="For --task anticipate: seconds from the end of the observation to the "
            "action's start.",
        ),
        Setting(FRAMES, unit="seconds"),
    ] = None
    clip_frames: Annotated[
        int | None,
        Field(
            ge=1,
            description="Frames that a probe sees, e.g. 8, evenly spread over the stored ones. "
            "Default: all; of tasks that arrange frames, the task's own number.",
        ),
        Setting(),
    ] = None
    temporal_crop: Annotated[
        bool,
        Field(
            description="Train on random contiguous crops of --clip-frames, test on the first, "
            "middle and last one."
        ),
        Setting(FRAMES),
    ] = False
    jitter: Annotated[
        bool,
        Field(
            description="Train on a random frame of each of --clip-frames equal stretches, test on "
            "the middle ones."
        ),
        Setting(FRAMES),
    ] = False
    observed: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Early recognition: share of the stored frames, from the first, that a "
            "probe sees.",
        ),
        Setting(FRAMES),
    ] = 1.0
    layer: int | None = None
    """The stored layer that a probe reads, by its number in the store's spec; None: the
    deepest, and every one for methods that read several."""
    views: Annotated[
        int | None,
        Field(ge=1, description="Maximum number of stored training views per clip. Default: all."),
        Setting(FRAMES),
    ] = None
    test_views: bool = True
    """Average the probabilities over a clip's stored test views; otherwise its first one counts."""
    pairs: tuple[tuple[str, str], ...] | None = None
    """Nearly symmetric pairs of labels, in place of the store's own."""
    frame_order: Annotated[
        Literal["natural", "shuffled"],
        Field(
            description="shuffled: train on a random permutation of the frames each time; tests "
            "keep their order."
        ),
        Setting(FRAMES),
    ] = "natural"
    directions: Annotated[
        Literal["both", "forward", "backward"],
        Field(description="For --task arrow: directions to train on; tests always show both."),
        Setting(FRAMES),
    ] = "both"
    answer: Annotated[
        Literal["class", "direction"],
        Field(
            description="For tasks of order: name the class or its opposite, or the direction "
            "alone, which needs no pairs of classes."
        ),
        Setting(FRAMES),
    ] = "class"
    train_split: Annotated[str, Field(description="Split to train on."), Setting(CLIPS)] = "train"
    test_split: Annotated[str, Field(description="Split to report on."), Setting(CLIPS)] = "test"
    split_file: Annotated[
        str | None,
        Field(description="CSV with the columns clip,split in place of the store's own splits."),
        Setting(CLIPS, unit="path"),
    ] = None
    split: Annotated[
        str | None,
        Field(
            description="Official splits of the data set: 1,2,3 or all; one run for each, averaged "
            "in tables. Default: the first."
        ),
        Setting(CLIPS),
    ] = None
    split_digest: str | None = None
    """SHA-256 of that file, filled in when it is read."""
    slice_seed: int | None = Field(default=None, ge=0)
    """Where given, the probe never sees the test split: a slice of the training clips, drawn by
    group with this seed, is held out and reported on, to choose hyper-parameters by."""
    slice_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of each class's training clips that the slice takes."""
    folds: int | None = Field(default=None, ge=2)
    """Where given, the groups of the training clips are dealt to this many folds by slice_seed, and
    one fold is held out instead of a slice."""
    fold: int | None = Field(default=None, ge=0)
    """Which one."""
    train_share: float = Field(default=1.0, gt=0, le=1)
    """Share of each class's training clips that is used."""
    shots: Annotated[
        int | None,
        Field(
            ge=1,
            description="Few-shot: maximum number of training clips per class, drawn anew for each "
            "seed.",
        ),
        Setting(CLIPS),
    ] = None
    protocol: Annotated[
        Literal["all", "base-to-novel", "leave-one-group-out"],
        Field(
            description="base-to-novel: train on the first half of the classes, test the others by "
            "their texts, each half among itself (arXiv 2203.05557). leave-one-group-out: one "
            "probe per group (subject, recording), tested on that group and trained on all others "
            "of both splits."
        ),
        Setting(CLIPS),
    ] = "all"
    held_group: str | None = None
    """Of leave-one-group-out the group that is tested; filled in, one run for each."""
    draw_seed: int | None = Field(default=None, ge=0)
    """Which clips a share or shots take; smaller draws of one seed are parts of larger ones."""

    @property
    def subsampled(self) -> bool:
        """Whether not all training clips are used."""
        return self.train_share < 1 or self.shots is not None

    @property
    def reported_split(self) -> str:
        """What the numbers of a run are about."""
        if self.slice_seed is None:
            return GROUP_SPLIT if self.leaves_a_group_out else self.test_split
        return f"{self.train_split}-{'slice' if self.folds is None else 'fold'}"

    @property
    def leaves_a_group_out(self) -> bool:
        """Whether splits give way to groups."""
        return self.protocol == GROUP_SPLIT

    @property
    def ignored(self) -> str:
        """A flag that was given and that the task ignores; "" for none. Runs of earlier versions
        may have it."""
        of_order = self.name in ORDER_SUITE
        return "" if of_order or self.directions == "both" else f"--directions {self.directions}"

    @property
    def of_pass(self) -> "TaskConfig":
        """The task whose batches all folds share: the same, without a fold."""
        return self if self.fold is None else self.model_copy(update={"fold": None})

    @property
    def splits(self) -> tuple[str | None, ...]:
        """What names the splits."""
        return self.train_split, self.test_split, self.split_file, self.split

    @model_serializer(mode="wrap")
    def _later_fields_if_given(self, plain: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Fields that came later are written, and are part of a run's name, only where they are
        given: runs from before them keep their names."""
        content: dict[str, object] = plain(self)
        if self.folds is None:
            del content["folds"], content["fold"]
        if self.held_group is None:
            del content["held_group"]
        if self.split is None:
            del content["split"]
        if self.answer == "class":
            del content["answer"]
        if self.horizon is None:
            del content["horizon"]
        return content

    @model_validator(mode="after")
    def _a_horizon_is_of_anticipation(self) -> "TaskConfig":
        if (self.name == "anticipate") != (self.horizon is not None):
            raise UsageError("--task anticipate and --horizon SECONDS go together; give both")
        return self

    @model_validator(mode="after")
    def _several_labels_are_not_counted_as_one(self) -> "TaskConfig":
        if self.name == MULTI_LABEL:
            flag = "--shots" if self.shots is not None else ""
            flag = "--protocol base-to-novel" if self.protocol == "base-to-novel" else flag
            if flag:
                raise UsageError(
                    f"{flag} goes by the one label of a clip, --task {MULTI_LABEL} has any number: "
                    "leave it out"
                )
        return self

    @model_validator(mode="after")
    def _a_fold_is_one_of_them(self) -> "TaskConfig":
        given = (self.folds is not None, self.fold is not None)
        if any(given) and (not all(given) or self.slice_seed is None):
            raise UsageError("folds, fold and slice_seed belong together: give all or none")
        if self.folds is not None and self.fold is not None and self.fold >= self.folds:
            raise UsageError(f"fold {self.fold} of {self.folds}: they are numbered from 0")
        return self

    @model_validator(mode="after")
    def _a_group_is_held_by_its_protocol(self) -> "TaskConfig":
        if self.held_group is not None and not self.leaves_a_group_out:
            raise UsageError(f"held_group belongs to the protocol {GROUP_SPLIT}")
        return self

    @model_validator(mode="after")
    def _splits_are_named_one_way(self) -> "TaskConfig":
        if self.split_file is not None and self.split is not None:
            raise UsageError("--split and --split-file are two ways to split: give one")
        return self

    @model_validator(mode="after")
    def _split_file_is_known_by_its_content(self) -> "TaskConfig":
        if self.split_file is not None and self.split_digest is None:
            try:
                # An untrusted run or sweep may name a device, which never ends.
                data = read_regular(Path(self.split_file).resolve(), LARGEST)
            except (OSError, ValueError, DamagedStore) as error:
                raise UsageError(
                    f"--split-file {self.split_file}: expected a CSV file, got: {error}"
                ) from None
            digest = hashlib.sha256(data).hexdigest()
            object.__setattr__(self, "split_digest", digest)
        return self

    @model_validator(mode="after")
    def _arranged_frames_are_not_chosen(self) -> "TaskConfig":
        if self.name in ORDER_SUITE[1:] and (self.temporal_crop or self.jitter):
            flag = "--temporal-crop" if self.temporal_crop else "--jitter"
            raise UsageError(f"{flag}: --task {self.name} arranges the frames itself; leave it out")
        return self

    @model_validator(mode="after")
    def _frames_are_chosen_one_way(self) -> "TaskConfig":
        if self.temporal_crop and self.jitter:
            raise UsageError("--temporal-crop and --jitter are two ways to choose frames: give one")
        if (self.temporal_crop or self.jitter) and self.clip_frames is None:
            flag = "--temporal-crop" if self.temporal_crop else "--jitter"
            raise UsageError(
                f"{flag} needs a length, --clip-frames belongs to it: e.g. --clip-frames 8 {flag}"
            )
        return self
