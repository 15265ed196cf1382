"""The figures of runs computed again from their predictions, without stepcli.

    python tests/recomputed_metrics.py RUNS

numpy and scikit-learn alone: a fault in the product's own metrics cannot hide in both.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, top_k_accuracy_score

ECE_BINS = 15


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error over ECE_BINS bins (lower, upper] of the top probability."""
    probabilities = softmax(logits)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, ECE_BINS + 1)
    error = 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += abs(confidence[inside].sum() - right[inside].sum())
    return error / len(labels)


def pair_figures(
    logits: np.ndarray, labels: np.ndarray, pairs: list[tuple[int, int]]
) -> tuple[float, float]:
    """Forced choice and AUC, each the mean over pairs."""
    choices, areas = [], []
    for a, b in pairs:
        shown = np.isin(labels, (a, b))
        margin = logits[shown, a] - logits[shown, b]
        truth = labels[shown] == a
        won = np.where(margin == 0, 0.5, (margin > 0) == truth)
        choices.append((won[truth].mean() + won[~truth].mean()) / 2)
        areas.append(roc_auc_score(truth, margin))
    return float(np.mean(choices)), float(np.mean(areas))


def recompute(run: Path) -> dict[str, Any]:
    """Every figure of one run, fractions of 1, with its method and seed."""
    record = json.loads((run / "run.json").read_text())
    table = pq.read_table(run / "predictions.parquet")
    logits = np.array(table["logits"].to_pylist(), dtype=np.float64)
    labels = table["label"].to_numpy()
    names = {name: index for index, name in enumerate(record["classes"])}
    pairs = [(names[a], names[b]) for a, b in record["pairs"]]
    every = range(logits.shape[1])
    forced, area = pair_figures(logits, labels, pairs)
    return {
        "run": record["run"],
        "method": record["method"],
        "seed": record["seed"],
        "top1": top_k_accuracy_score(labels, logits, k=1, labels=every),
        "top5": top_k_accuracy_score(labels, logits, k=5, labels=every),
        "mean_class": balanced_accuracy_score(labels, logits.argmax(axis=1)),
        "forced_choice": forced,
        "auc": area,
        "ece": calibration_error(logits, labels),
    }


if __name__ == "__main__":
    for path in sorted(Path(sys.argv[1]).glob("*/run.json")):
        print(json.dumps(recompute(path.parent)))  # noqa: T201
