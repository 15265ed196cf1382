"""`stepcli report`: what a folder of runs says, as a page, figures and tables."""

from pathlib import Path
from typing import Annotated

import typer

from stepcli.probe.cli.analysis import RunsArgument, StoreOption
from stepcli.runtime.device_names import require_device_name
from stepcli.runtime.terminal import say, warn
from stepcli.runtime.words import counted

VideosOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Folder of videos whose frames may be shown; repeatable. Those that you have named to "
        "stepcli extract need not be named again."
    ),
]


def report(
    runs: RunsArgument = Path("runs"),
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
    store: StoreOption = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="CSV with columns label,partner, in place of the runs' own pairs."),
    ] = None,
    published: Annotated[
        Path | None,
        typer.Option(
            help="Papers' numbers: a CSV (docs/report.md), or the word shipped for those that come "
            "with stepcli."
        ),
    ] = None,
    order: Annotated[
        bool,
        typer.Option(
            "--order/--no-order", help="Run the order tests that are not kept yet (stepcli order)."
        ),
    ] = True,
    pdf: Annotated[bool, typer.Option("--pdf/--no-pdf", help="Write figures as PDF too.")] = True,
    device: Annotated[
        str,
        typer.Option(help="Of the order tests: auto, cpu, cuda.", callback=require_device_name),
    ] = "auto",
    videos: VideosOption = None,
) -> None:
    """One HTML page that opens offline, and LaTeX, CSV, SVG and PDF of its tables and figures."""
    from functools import partial

    from stepcli.probe.runs.configurations import configurations
    from stepcli.probe.runs.pairs import read_pairs
    from stepcli.probe.runs.published import read_published, shipped
    from stepcli.runtime.files import require_writable

    given = None if pairs is None else read_pairs(pairs, several=True)
    found = configurations(runs)
    if published == Path("shipped"):
        points = shipped({each.first.dataset for each in found})
    else:
        points = [] if published is None else read_published(published)
    from stepcli.runtime.extras import load_extra

    for package in ("jinja2", "matplotlib"):
        load_extra(package, "report", "the report")
    require_writable(out)  # now, not after minutes of order tests and drawing
    from stepcli.apply.pictures.stored_frames import stored_frames
    from stepcli.probe.analysis.order_runs import keep_order_tests
    from stepcli.probe.report.write import write_report

    if order:
        # A report without its store still shows everything else, and says what it lacks.
        for reason in dict.fromkeys(keep_order_tests(found, store, device).values()):
            warn(f"note: no order tests: {reason}")
    done = write_report(
        *(runs, out),
        store=store,
        pairs=given,
        published=points,
        frames_of=partial(stored_frames, videos=videos or ()),
        pdf=pdf,
    )
    for line in done.missing:
        warn(f"note: not shown: {line}")
    say(
        f"{done.page}: {counted(done.figures, 'figure')}, {counted(done.tables, 'table')}; "
        f"{out / 'figures'} (SVG{', PDF' if pdf else ''}), {out / 'tables'} (LaTeX, CSV)"
    )


def picture(
    clip: Annotated[str, typer.Argument(help="Id of a committed clip.")],
    store: Annotated[
        Path | None, typer.Option(help="Store to read. Default: the only one.")
    ] = None,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("clip.png"),
    videos: VideosOption = None,
) -> None:
    """A clip's frames with its stored tokens as colours beneath: is the extraction sane?

    Colours are the first three principal components of the finest grid of tokens.
    """
    import io

    from stepcli.cache.store.locate import existing_store

    place = existing_store(store)
    from stepcli.cache.store.store import open_store

    opened = open_store(place)
    opened.record(clip)  # one that is not there is named before a decoder is loaded
    from stepcli.apply.pictures.token_picture import token_picture
    from stepcli.runtime.files import disk_errors, replace_synced

    drawn, absent = token_picture(opened, clip, videos or ())
    sink = io.BytesIO()
    drawn.save(sink, "PNG")
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_synced(out, sink.getvalue())
    note = f" (without frames: {absent})" if absent else ""
    say(f"{out}: {drawn.width} x {drawn.height} pixels{note}")
