"""What must agree for two clips to share a store, and what is only recorded.

`StoreSpec` holds everything that determines a token's value, never an I/O setting and never a
library version: those are the `Producer`, recorded in each part and compared only on request.
An upgrade of PyAV must not make a store of 1.4 TB unresumable.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.errors import SpecMismatch

TokenScope = Literal["frame", "causal", "clip"]
Dtype = Literal["float16", "float32", "bfloat16", "int8", "int8-channel"]
Count = Annotated[int, Field(ge=1, le=1 << 20)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Segment(_Frozen):
    """A named run of tokens within a frame, e.g. the CLS token or a 4 x 4 grid of patches."""

    name: str
    """As asked for on the command line: "cls", "grid4"; "full" gives "prefix" and "patches"."""
    kind: Literal["prefix", "grid"]
    """"prefix": CLS and register tokens; "grid": patches, row by row."""
    count: Count
    """Tokens per frame."""
    grid: tuple[Count, Count] | None = None
    """Rows and columns of a grid segment; None for prefix tokens."""
    pooled_from: tuple[Count, Count] | None = None
    """The backbone's own rows and columns that a grid was averaged from, where that is known."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_known(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        content: dict[str, object] = dump(self)
        if self.pooled_from is None:
            content.pop("pooled_from", None)
        return content

    @model_validator(mode="after")
    def _grid_counts(self) -> "Segment":
        if (self.kind == "grid") != (self.grid is not None):
            raise ValueError(f"segment {self.name!r}: a grid segment, and only it, has a grid")
        if self.grid is not None and self.grid[0] * self.grid[1] != self.count:
            raise ValueError(f"segment {self.name!r}: grid {self.grid} is not {self.count} tokens")
        return self


class StoreSpec(_Frozen):
    """Everything that determines the tokens of a clip. Two specs agree when all fields do."""

    backbone: str
    """Name in the registry, or "hf:<repository or folder name>"."""
    weights_digest: str
    """sha256 of the weights as loaded, hexadecimal: names can lie, bytes cannot."""
    layers: Annotated[tuple[int, ...], Field(min_length=1)] = (-1,)
    """Which hidden states, as the model counts them from the end; -1 is the last."""
    segments: Annotated[tuple[Segment, ...], Field(min_length=1)]
    """The tokens of a frame, in the order in which they are stored."""
    dim: Count
    """Channels of a token (D)."""
    frames: Count
    """Stored time steps of a clip (T)."""
    sampling: str
    """Name of the rule that chooses the frames, e.g. "uniform"."""
    token_scope: TokenScope = "frame"
    """What a token depends on: its own frame, earlier frames too, or the whole clip."""
    frames_per_token: Count = 1
    """Video frames that one stored time step spans (2 for tubelet models)."""
    code_digest: str = ""
    """sha256 of the file of code that built a backbone from outside, hexadecimal; else ""."""
    preprocessing: dict[str, bool | int | float | str | list[float] | list[int]]
    """Resize, crop and normalisation as really applied, flat and JSON-able."""
    dtype: Dtype
    """How a token's channels are stored; "int8" keeps one scale per token, "int8-channel" one more
    per channel and clip."""

    @model_serializer(mode="wrap")
    def _code_only_where_there_is_some(
        self, dump: SerializerFunctionWrapHandler
    ) -> dict[str, object]:
        """Other specs are written, and so digested, as before there was the field."""
        content: dict[str, object] = dump(self)
        if not self.code_digest:
            content.pop("code_digest", None)
        return content

    @property
    def tokens_per_frame(self) -> int:
        """S, the tokens of one frame over all segments."""
        return sum(segment.count for segment in self.segments)

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """Shape of one clip: (T, S, D), or (L, T, S, D) when several layers are stored."""
        shape = (self.frames, self.tokens_per_frame, self.dim)
        return shape if len(self.layers) == 1 else (len(self.layers), *shape)

    def canonical_json(self) -> str:
        """The spec as JSON with sorted keys and no white space; what the digest covers."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, hexadecimal."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()


class Producer(_Frozen):
    """What made a part: recorded, never a reason to refuse a store."""

    source: str
    """Where the weights came from: repository and revision, folder, or wheel."""
    device: str
    """e.g. "cpu" or "cuda: NVIDIA H200"."""
    numerics: str
    """Arithmetic of the forward pass, e.g. "float32" or "bfloat16 autocast"."""
    versions: dict[str, str]
    """Library name to version: stepcli, torch, transformers, av, ffmpeg, ..."""


def flat_producer(producer: Producer) -> dict[str, str]:
    """A producer's facts by name, versions as "torch version" and so on."""
    facts = {key: getattr(producer, key) for key in ("source", "device", "numerics")}
    return facts | {f"{name} version": text for name, text in producer.versions.items()}


def explain_difference(
    stored: StoreSpec, asked: StoreSpec, one: str = "store", other: str = "asked"
) -> list[str]:
    """Name every field in which two specs differ, e.g. "frames: store 8, asked 16".

    Args:
        stored: A spec.
        asked: Another one.
        one: What the lines call the first.
        other: What they call the second.
    """
    old, new = stored.model_dump(mode="json"), asked.model_dump(mode="json")
    lines = []
    for field in StoreSpec.model_fields:
        if old.get(field) == new.get(field):
            continue
        if field == "preprocessing":
            keys = sorted(old[field].keys() | new[field].keys())
            lines += [
                f"preprocessing.{key}: {one} {old[field].get(key)!r}, "
                f"{other} {new[field].get(key)!r}"
                for key in keys
                if old[field].get(key) != new[field].get(key)
            ]
        elif field == "segments":
            names = [",".join(segment["name"] for segment in side[field]) for side in (old, new)]
            if names[0] == names[1]:
                names = [json.dumps(side[field]) for side in (old, new)]
            lines.append(f"tokens: {one} {names[0]}, {other} {names[1]}")
        else:
            lines.append(f"{field}: {one} {old.get(field)!r}, {other} {new.get(field)!r}")
    return lines


def require_same_spec(stored: StoreSpec, asked: StoreSpec, place: str) -> None:
    """Refuse to mix two specs in one store.

    Raises:
        SpecMismatch: naming each field that differs, with both values.
    """
    lines = explain_difference(stored, asked)
    if lines:
        raise SpecMismatch(
            f"the store {place} was written with other settings ({'; '.join(lines)}); "
            "ask for the store's settings, or give another --store"
        )
