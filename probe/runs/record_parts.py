"""Parts of a run's record, and the types of its numbers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from stepcli.runtime.settings import JsonObject

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Duration = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """Part of a record: frozen; types as JSON has them; fields of later versions are kept."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: JsonObject = Field(init=False)


class CleanScores(Part):
    """The headline numbers over the test samples that are no copies of training clips."""

    samples: Count = 0
    top1: Share
    top5: Share
    mean_class: Share | None
    forced_choice: Share | None = None


class LeakageCounts(Part):
    """What test clips share with training clips, counted in clips."""

    test_clips: Count
    shared_groups: Count
    grouped_clips: Count
    copied_clips: Count
    without_copies: CleanScores | None
    """None where there are no copies, or nothing but copies."""


class Hardware(Part):
    """The machine that trained a run."""

    machine: str = ""
    system: str = ""
    cores: Count | None = None
    threads: Count | None = None
    gpu: str | None = None


class Imported(Part):
    """Where the logits of an imported run came from."""

    file: str
    sha256: str = ""
    like: str = ""
    """The run that was tested on the same samples."""
