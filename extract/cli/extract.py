"""`stepcli extract`: light until it runs."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from stepcli.extract.cli.completion import COMPLETE, refuse_unknown
from stepcli.extract.config import ExtractConfig
from stepcli.runtime.config_options import with_config_options
from stepcli.runtime.preemption import exit_code, heed_sigterm
from stepcli.runtime.terminal import say

if TYPE_CHECKING:
    from stepcli.extract.pipeline.clip_list import ClipList


@with_config_options(config_file=True, complete=COMPLETE)
def extract(
    config: ExtractConfig,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON on stdout.")
    ] = False,
) -> None:
    """Run a frozen image model over every video once, and store its tokens frame by frame.

    The same command resumes where it stopped. A video that cannot be read is quarantined with the
    reason.

    Exit codes:

      0   every clip is stored
      1   another error
      2   a wrong option or file, or a store with other settings
      3   some clips are quarantined, all others are stored
      4   the store is damaged
      75  ended by SIGTERM, 130 by Ctrl-C; finished clips are stored

    Examples:

      stepcli extract --dataset ssv2 --root /data/ssv2 --backbone dinov2-base --tokens cls,grid4

      stepcli extract --dataset csv --root clips.csv --backbone /models/my-vit --limit 100

      stepcli extract --config run.yaml --device cuda:1
    """
    from stepcli.runtime.memory import keep_freed_memory

    refuse_unknown(config)
    keep_freed_memory()  # before PyArrow, torch or anybody else starts a thread
    import json

    listed = _listed(config)
    from stepcli.extract.engines.several_backbones import extract_all
    from stepcli.extract.pipeline.stages import passes_still_running

    heed_sigterm()
    if config.devices is not None:
        _on_several(config, config.devices, as_json)
    try:
        code, summaries = extract_all(config, listed)
    except KeyboardInterrupt as interrupt:
        say("interrupted: every finished clip is stored; the same command resumes", err=True)
        if passes_still_running():
            # A large model's pass on a CPU takes longer than a batch system waits.
            os._exit(exit_code(interrupt))
        raise typer.Exit(exit_code(interrupt)) from interrupt
    if as_json:
        say(json.dumps(summaries[0] if len(summaries) == 1 else summaries))
    if code:
        raise typer.Exit(code)


def _listed(config: ExtractConfig) -> "ClipList":
    """The clips of the run: a wrong folder or list is an error before torch is imported."""
    from stepcli.extract.pipeline.clip_list import load_list
    from stepcli.runtime.memory import without_collections

    with without_collections():
        return load_list(config)


def _on_several(config: ExtractConfig, devices: str, as_json: bool) -> None:
    from stepcli.extract.engines.several_devices import device_names, run_on

    words = [*(["--json"] if as_json else []), *(["--debug"] if "--debug" in sys.argv else [])]
    try:
        code = run_on(device_names(devices), config, words)
    except KeyboardInterrupt as interrupt:  # each process has said how to go on
        raise typer.Exit(exit_code(interrupt)) from interrupt
    raise typer.Exit(code)
