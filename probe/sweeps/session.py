"""From configs and a store to finished runs: plan passes, train what is left, write each run."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from stepcli.cache.schema.official_splits import chosen_splits, official_names
from stepcli.cache.store.duplicates import find_copies
from stepcli.cache.store.store import open_store
from stepcli.cache.store.summary import weight_sources
from stepcli.probe.config import RunConfig, TaskConfig
from stepcli.probe.data.clip_metadata import ClipFacts
from stepcli.probe.data.clip_tables import ClipTables
from stepcli.probe.data.each_group import groups_of, ungrouped_note
from stepcli.probe.data.features import Features, store_layout, task_layout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.placement import BANK_SHARE, free_bytes, place_features
from stepcli.probe.data.slices import held_out, in_folds
from stepcli.probe.data.tasks import Task
from stepcli.probe.data.text import stored_texts
from stepcli.probe.methods import registry
from stepcli.probe.runs.earlier import fits, unrecorded_tables
from stepcli.probe.runs.naming import RunNames
from stepcli.probe.runs.record import FILE, RunRecord, is_done, read_run
from stepcli.probe.runs.staging import require_free, sweep_staging
from stepcli.probe.runs.write import TokenSource, write_all
from stepcli.probe.sweeps.progress import SweepProgress
from stepcli.probe.sweeps.tracking import open_trackers
from stepcli.probe.training.checkpoint import SAVE_SECONDS, Checkpoint
from stepcli.probe.training.estimate import estimate_seconds
from stepcli.probe.training.memory import OutOfMemory, free_memory
from stepcli.probe.training.plan import PassPlan, make_plan
from stepcli.probe.training.process import tune_process
from stepcli.probe.training.train import Trained, train
from stepcli.runtime.devices import resolve_device
from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import require_writable
from stepcli.runtime.terminal import say, warn
from stepcli.runtime.words import are, counted


class Session:
    """One store, one device and one folder of runs."""

    def __init__(
        self,
        store: Path,
        runs: Path,
        device: str,
        *,
        save_seconds: float = SAVE_SECONDS,
        trackers: Sequence[str] = (),
        strict: bool = False,
    ) -> None:
        """Open the store.

        Args:
            store: Its folder.
            runs: Folder of the runs; made when missing.
            device: "auto", "cpu", "cuda" or "cuda:1".
            save_seconds: How often the state of a pass is kept for resuming.
            trackers: Names of experiment trackers to copy losses and results to.
            strict: Refuse tasks whose test clips share groups with, or are copies of, training
                clips.

        Raises:
            StoreNotFound: there is none.
            UsageError: this machine has no such device.
        """
        self.device = resolve_device(device)
        self.store = open_store(store)
        self.runs = runs
        self._save_seconds = save_seconds
        self._trackers = tuple(trackers)
        self._strict = strict
        path = self.store.path
        place = path.location
        fingerprint = self.store.fingerprint
        texts = "".join(text.sha256 for text in stored_texts(path))
        weights = tuple(weight_sources(self.store))
        copies = find_copies(self.store).sets
        self.tables = ClipTables(self.store, copies)
        self._source = TokenSource(
            place,
            self.store.dataset,
            fingerprint,
            self.store.spec,
            texts,
            weights,
            bool(copies),
            partial(self.store.snapshot.fingerprint, self.store.manifest.spec_digest),
            self.tables.digest,
        )
        self._names = RunNames(
            runs, self._source.identity, self._source.earlier_identity, self._fits
        )
        self._tasks: dict[TaskConfig, Task] = {}
        self._written: dict[str, RunRecord] = {}
        self._noted: set[str] = set()

    def task(self, config: TaskConfig) -> Task:
        """The samples of a task on this store.

        Raises:
            UsageError: the store cannot serve the task, or a split has no clip; or, with `strict`,
                test shares groups or copies with train.
        """
        if config not in self._tasks:
            table = held_out(self.tables.of_task(config), config)
            self._tasks[config] = in_folds(make_task(config, self.store, table), table, config)
            if self._strict and (found := self._leakage(config)):
                del self._tasks[config]  # refused whenever it is asked for
                raise UsageError(f"--strict: {'; '.join(found)}")
        return self._tasks[config]

    def _leakage(self, config: TaskConfig) -> tuple[str, ...]:
        """What the test split shares with train, also where a slice or fold comes first: what is
        chosen there is tested in the end."""
        plain = config.model_copy(update={"slice_seed": None, "folds": None, "fold": None})
        return self.task(plain).leakage.warnings

    def for_each_part(self, configs: Sequence[RunConfig]) -> list[RunConfig]:
        """Configs once for each official split that they name, and where one group is left out
        once for each group; all others as they are.

        Raises:
            UsageError: too few groups, or too many; or a split that the store does not have.
        """
        every = []
        for config in self._for_each_split(configs):
            task = config.task
            if not task.leaves_a_group_out or task.held_group is not None:
                every.append(config)
                continue
            table = self.tables.every_clip(task)
            groups = groups_of(table)
            if note := ungrouped_note(table):
                self._note_once(note)
            for group in groups:
                held = task.model_copy(update={"held_group": group})
                every.append(config.model_copy(update={"task": held}))
        return every

    def _for_each_split(self, configs: Sequence[RunConfig]) -> list[RunConfig]:
        names = official_names(row.split for row in self.store.clips())
        every = []
        for config in configs:
            task = config.task
            if task.split_file is not None:
                every.append(config)
                continue
            chosen = chosen_splits(task.split, names)
            if task.split is None and len(names) > 1:
                self._note_once(
                    f"note: the store has the official splits {', '.join(names)}; this is split "
                    f"{names[0]} alone; --split {','.join(names)} trains on each"
                )
            for name in chosen:
                of_split = task.model_copy(update={"split": name})
                every.append(config.model_copy(update={"task": of_split}))
        return every

    def _note_once(self, text: str) -> None:
        """A sweep asks for the splits of each of its grids."""
        if text not in self._noted:
            self._noted.add(text)
            warn(text)

    def name(self, config: RunConfig) -> str:
        """Name of a config's run on this store: of its folder."""
        return self._names.name(config)

    def run_id(self, config: RunConfig) -> str:
        """What the name abbreviates; the same in all versions."""
        return self._names.run_id(config)

    def _fits(self, config: RunConfig, run: str) -> bool:
        """Whether a run of an earlier version, of this config, is of the store's tables as they
        are now."""
        return fits(self.runs / run, self.task(config.task))

    def left(self, configs: Sequence[RunConfig]) -> list[RunConfig]:
        """Those of the configs that are not done yet, each once."""
        unique = {self.name(config): config for config in configs}
        return [config for name, config in unique.items() if not is_done(self.runs, name)]

    def plan(self, configs: Sequence[RunConfig]) -> list[PassPlan]:
        """Passes and banks for what is left of the configs.

        Raises:
            UsageError: a probe cannot be built on this store's tokens.
        """
        room = int(BANK_SHARE * free_bytes(self.device))
        left = self.left(configs)
        for task in dict.fromkeys(config.task for config in left):
            if task.ignored:
                raise UsageError(
                    f"{task.ignored}: --task {task.name} shows no clip backward, so it has no "
                    "effect; leave it out, or choose --task arrow"
                )
        return make_plan(left, self.store, self.task, room)

    def estimate(self, plans: Sequence[PassPlan]) -> float:
        """Seconds that the plans' training steps will take, from a few real ones."""
        tune_process()
        total = 0.0
        for plan in plans:
            task = self.task(plan.configs[0].task.of_pass)
            total += estimate_seconds(
                plan, task_layout(self.store, task), task, ClipFacts(self.store), self.device
            )
        return total

    def run(self, configs: Sequence[RunConfig]) -> list[RunRecord]:
        """Train what is left; returns the records of all configs, in their order.

        Raises:
            UsageError: a probe cannot be built or trained on this store's tokens.
            StoreError: the runs cannot be written; what was trained is elsewhere, as it says.
        """
        tune_process()
        plans = self.plan(configs)
        left = sum(len(plan.configs) for plan in plans)
        unique = len({self.name(config) for config in configs})
        if left < unique:
            done = unique - left
            say(f"{done} of {counted(unique, 'run')} {are(done)} done already in {self.runs}")
            if note := unrecorded_tables(self.runs, {self.name(config) for config in configs}):
                self._note_once(note)
        if plans:
            # Now, not after an hour of training.
            require_free(self.runs, [self.name(c) for plan in plans for c in plan.configs])
            sweep_staging(self.runs)
            require_writable(self.runs, sum(plan.kept_bytes for plan in plans))
            self.warn(plans)
            self._train(plans)
        return [self._record(self.name(config)) for config in configs]

    def _record(self, run: str) -> RunRecord:
        """Of a finished run: as this session wrote it, or as found in its folder."""
        if run not in self._written:
            self._written[run] = read_run(self.runs / run / FILE)
        return self._written[run]

    def warn(self, plans: Sequence[PassPlan]) -> None:
        """Say once what is odd about the tasks of the plans."""
        configs = dict.fromkeys(plan.configs[0].task.of_pass for plan in plans)
        found = [w for c in configs for w in (*self._leakage(c), *self.task(c).warnings)]
        for warning in dict.fromkeys(found):
            warn(f"warning: {warning}")

    def _train(self, plans: Sequence[PassPlan]) -> None:
        tasks = [self.task(plan.configs[0].task.of_pass) for plan in plans]
        # May refuse: before the tokens are read.
        trackers = open_trackers(self._trackers, self.runs)
        clips = dict.fromkeys(clip for task in tasks for clip in task.clips)
        free = {kind.type: free_bytes(kind) for kind in (torch.device("cpu"), self.device)}
        features, where = place_features(self.store, tuple(clips), self.device, free)
        say(where)
        runs = sum(len(plan.configs) for plan in plans)
        with SweepProgress(sum(plan.epochs for plan in plans), runs, trackers) as progress:
            for plan, task in zip(plans, tasks, strict=True):
                self._train_pass(features, task, plan.configs, progress)

    def _train_pass(
        self,
        features: Features,
        task: Task,
        configs: Sequence[RunConfig],
        progress: SweepProgress,
    ) -> None:
        """Train one pass and write its runs; a pass that does not fit into memory in two halves."""
        names = [self.name(config) for config in configs]
        # Known by identities: a pass that an earlier version began resumes.
        identities = [self.run_id(config) for config in configs]
        checkpoint = Checkpoint(self.runs, identities, self._save_seconds, progress.say)
        layout = task_layout(self.store, task)
        report = partial(progress.epoch, names, configs)
        every, reason = list[Trained](), ""
        try:
            every = train(features, layout, task, configs, report, checkpoint, progress.say)
        except OutOfMemory as error:
            if len(configs) == 1:
                raise
            reason = str(error)
        if reason:
            # Not in the handler: the error's traceback holds the tensors that did not fit.
            free_memory(self.device)
            progress.say(f"{reason}: {len(configs)} probes are trained in two passes instead")
            progress.extend(configs[0].shared.epochs_of(task.samples_per_epoch))
            middle = len(configs) // 2
            for half in (configs[:middle], configs[middle:]):
                self._train_pass(features, task, half, progress)
            checkpoint.discard()
            return

        def written(record: RunRecord) -> None:
            self._written[record.run] = record
            progress.run(record, str(self.runs / record.run))

        write_all(
            *(self.runs, every, self.name, lambda config: self.task(config.task)),
            *(self._source, written),
        )
        checkpoint.discard()


def parameter_counts(path: Path, methods: Sequence[str] | None = None) -> dict[str, int | str]:
    """Parameters of methods with their defaults, on a store's tokens and classes.

    Args:
        path: Of the store.
        methods: Names; None: every method there is.

    Returns:
        Method -> its number of parameters, or the reason why it cannot be built here.
    """
    store = open_store(path)
    names = [row.name for row in sorted(store.classes(), key=lambda row: row.index)]
    names = names or sorted({row.label for row in store.clips()})
    layout = store_layout(store, store.spec.frames, tuple(names))
    counts: dict[str, int | str] = {}
    for name in registry.methods().names() if methods is None else methods:
        try:
            info = registry.methods().get(name)
            probe = info.build(layout, len(names), info.options(), torch.Generator())
            counts[name] = probe.parameters_each
        except UsageError as error:
            counts[name] = str(error)
    return counts
