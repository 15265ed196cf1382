"""A store in a few lines, and the state of each clip of its data set."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from textwrap import wrap
from typing import Any

import numpy as np
from pydantic import JsonValue

from stepcli.cache.parts.commit import read_part_record, staging_owners
from stepcli.cache.schema.spec import Producer, flat_producer
from stepcli.cache.store.store import Store
from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.settings import JsonObject

PARTS_COMPARED = 16
"""Of a store whose producers are compared: in object storage each is a request."""


def summarize(store: Store) -> JsonObject:
    """What `stepcli store info` shows; JSON-able."""
    states = {"done": 0, "quarantined": 0, "left": 0}
    for line in clip_states(store):
        states[line["state"]] += 1
    records = [read_part_record(store.path, name) for name in store.parts]
    compressed = sum(record.compression != "none" for record in records)
    producers = {
        canonical_json(producer): producer
        for producer in (record.producer.model_dump(mode="json") for record in records)
    }
    return {
        "path": str(store.path),
        "dataset": store.dataset,
        "format": store.format,
        "clips": {**states, "in_all": sum(states.values())},
        "parts": len(records),
        **({"compressed_parts": compressed} if compressed else {}),
        "bytes": sum(file.size for record in records for file in record.files.values()),
        "clip_shape": list(store.spec.clip_shape),
        "spec": store.spec.model_dump(mode="json"),
        "spec_digest": store.spec.digest,
        "fingerprint": store.fingerprint,
        "producers": list(producers.values()),
        "writers_at_work": [owner.name for owner, _ in staging_owners(store.path)],
    }


LINE = 80
"""Characters of a line that `fact_lines` makes, where words allow it."""


def fact_lines(facts: Mapping[str, JsonValue], indent: str = "") -> Iterator[str]:
    """JSON-able facts for a terminal, names before their values; what is long goes below."""
    for name, value in facts.items():
        label = f"{indent}{name.replace('_', ' ')}:"
        text = _in_words(value)
        inner = value if isinstance(value, list) else [value]
        nested = [each for each in inner if isinstance(each, dict)]
        if nested and len(nested) == len(inner) and len(text) > LINE - 16:
            yield label
            for each in nested:
                yield from fact_lines(each, indent + "  ")
        else:
            yield from wrap(
                f"{label:<15} {text}",
                LINE,
                subsequent_indent=" " * 16,
                break_long_words=False,
                break_on_hyphens=False,
            )


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_in_words(v)}" for name, v in value.items())
    if isinstance(value, list):
        between = " x " if all(isinstance(item, int) for item in value) else "; "
        return between.join(map(_in_words, value)) or "none"
    return f"{value:,}" if type(value) is int else str(value)


def describe_clip(store: Store, clip: str) -> JsonObject:
    """What `stepcli store show` shows; JSON-able.

    Raises:
        ClipNotFound: it is not committed.
    """
    tokens = store.read_floats([clip])[0]
    with np.errstate(all="ignore"):  # only a store written by other software may hold NaN
        norm = float(np.linalg.norm(tokens, axis=-1).mean())
    snapshot = store.snapshot
    place = snapshot.positions[clip]
    row = next((row for row in store.clips() if row.id == clip), None)
    return {
        **({} if row is None else asdict(row)),
        **asdict(store.record(clip)),
        "part": snapshot.parts[snapshot.part_of[place]],
        "row": int(snapshot.row_of[place]),
        "crc32c": f"{int(snapshot.crc32c_of[place]):08x}",
        "shape": list(tokens.shape),
        "smallest": float(tokens.min()),
        "largest": float(tokens.max()),
        "mean_token_norm": norm,
    }


def producer_differences(store: Store, producer: Producer) -> list[str]:
    """In what a producer differs from those of the store's parts, of which some are looked at,
    evenly spread; [] where nothing does. Worth a note, never a reason to refuse.
    """
    mine = flat_producer(producer)
    found: dict[str, set[str]] = {}
    for name in store.parts[:: -(-len(store.parts) // PARTS_COMPARED) or 1]:
        theirs = flat_producer(read_part_record(store.path, name).producer)
        for key in mine.keys() | theirs.keys():
            if mine.get(key) != theirs.get(key):
                found.setdefault(key, set()).add(theirs.get(key, "none"))
    return [
        f"{key}: store {' and '.join(sorted(values))}, now {mine.get(key, 'none')}"
        for key, values in sorted(found.items())
    ]


def weight_sources(store: Store) -> list[str]:
    """Where the backbone's weights came from, by the records of the newest and the oldest part."""
    ends = dict.fromkeys([*store.parts[-1:], *store.parts[:1]])
    sources = (read_part_record(store.path, name).producer.source for name in ends)
    return list(dict.fromkeys(sources))


def clip_states(store: Store) -> Iterator[dict[str, str]]:
    """One line per clip of the data set: done + quarantined + left is all of them, always."""
    rows = {row.id: row for row in store.clips()}
    failures = store.quarantined()
    for clip in sorted({*rows, *store.ids, *failures}):
        failure = failures.get(clip)
        yield {
            "id": clip,
            "state": "done" if clip in store else "quarantined" if failure else "left",
            "label": rows[clip].label if clip in rows else "",
            "split": rows[clip].split if clip in rows else "",
            "reason": f"{failure.error}: {failure.message}" if failure else "",
        }
