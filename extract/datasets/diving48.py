"""`diving48`: 18,404 dives of 48 kinds (Li et al., ECCV 2018), labels as cleaned in V2."""

from collections.abc import Mapping
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.files import read_json
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.videos import Videos
from stepcli.runtime.errors import UsageError


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read the V2 lists; the videos are cut to the dives already."""
    del options
    checklist = Checklist("diving48", root)
    vocabulary, *lists = (
        checklist.file(f"{name}.json", f"annotations/{name}.json", purpose=purpose)
        for name, purpose in {
            "Diving48_vocab": "classes",
            "Diving48_V2_train": "training clips",
            "Diving48_V2_test": "test clips",
        }.items()
    )
    folder = checklist.folder("rgb", "videos", purpose="the videos, <vid_name>.mp4")
    checklist.require()
    videos = Videos(folder)
    names = ["+".join(parts) for parts in read_json(vocabulary, list)]
    clips = []
    for split, file in zip(("train", "test"), lists, strict=True):
        for entry in read_json(file, list):
            video, label = entry["vid_name"], int(entry["label"])
            if not 0 <= label < len(names):
                raise UsageError(f"{file}: clip {video} has the class {label} of {len(names)}")
            # <competition>_<number>: dives of one broadcast belong together.
            group = video.rpartition("_")[0]
            path = videos.find(f"{video}.mp4")
            clips.append(Clip(video, path, names[label], split, group=group))
    return Dataset("diving48", tuple(clips), class_rows(names), videos.notes())


INFO = DatasetInfo(
    name="diving48",
    load=load,
    layout="""\
<root>/Diving48_vocab.json                [[takeoff, somersault, twist, flight], ...], 48 classes
<root>/Diving48_V2_{train,test}.json      [{vid_name, label, start_frame, end_frame}, ...]
    (or in <root>/annotations/)
<root>/rgb/<vid_name>.mp4                 (the folder may be videos)""",
    source="http://www.svcl.ucsd.edu/projects/resound/dataset.html",
)
