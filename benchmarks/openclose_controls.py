"""Two controls of the bundled clips: class without order, and direction across pairs.

    stepcli extract --dataset openclose --backbone mobilenet_v2-bundled-320 \\
        --frames 16 --tokens grid2 --store STORE
    python benchmarks/openclose_controls.py --store STORE

1. Class without order: clips as recorded, 16 classes, logistic regression on the mean over frames.
   Where this is high, a high accuracy on `--task classify` says nothing about order.
2. Direction across pairs: is a clip shown forward or backward? Logistic regression on random crops
   of 8 of 16 frames side by side, trained on seven pairs of opposite actions, tested on the eighth.
   Above 50 %, the direction of time shows in something that all actions share.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from stepcli.cache import open_store
from stepcli.cache.store.store import Store

CROP = 8
CROPS_PER_CLIP = 4


def classifier() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=2000))


def frame_means(store: Store, ids: list[str]) -> np.ndarray:
    """[n, T, D]: mean over the tokens of each frame."""
    means: np.ndarray = store.read_floats(ids).mean(axis=2)
    return means


def crops(frames: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random crops, each forward and backward: features [m, CROP * D], direction [m]."""
    shown, backward = [], []
    for clip in frames:
        for start in random.integers(0, len(clip) - CROP + 1, CROPS_PER_CLIP):
            part = clip[start : start + CROP]
            shown += [part.ravel(), part[::-1].ravel()]
            backward += [0, 1]
    return np.stack(shown), np.array(backward)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    store = open_store(parser.parse_args().store)
    rows = [row for row in store.clips() if row.id in store]
    split = {name: [row for row in rows if row.split == name] for name in ("train", "test")}
    frames = {name: frame_means(store, [row.id for row in split[name]]) for name in split}
    labels = {name: np.array([row.label for row in split[name]]) for name in split}

    model = classifier().fit(frames["train"].mean(axis=1), labels["train"])
    right = model.score(frames["test"].mean(axis=1), labels["test"])
    print(f"class without order: {100 * right:.1f} % of {len(labels['test'])} clips, 16 classes")

    pairs = sorted({tuple(sorted((row.name, row.partner))) for row in store.classes()})
    scores = []
    for pair in pairs:
        random = np.random.default_rng(0)
        seen = ~np.isin(labels["train"], pair)
        shown, backward = crops(frames["train"][seen], random)
        model = classifier().fit(shown, backward)
        shown, backward = crops(frames["test"][np.isin(labels["test"], pair)], random)
        scores.append(model.score(shown, backward))
        print(f"  direction of {pair[0]} / {pair[1]}, not trained on: {100 * scores[-1]:.1f} %")
    print(f"direction across pairs: {100 * np.mean(scores):.1f} %, mean of {len(pairs)} pairs")


if __name__ == "__main__":
    main()
