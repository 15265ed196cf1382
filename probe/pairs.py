"""Nearly symmetric classes from the user's own file."""

import csv
from pathlib import Path

from stepcli.cache.errors import UsageError


def read_pairs(path: Path) -> tuple[tuple[str, str], ...]:
    """Nearly symmetric classes from a CSV file with the columns label and partner.

    Raises:
        UsageError: the file is not there, or is not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = {"label", "partner"}.difference(reader.fieldnames or ())
            if missing:
                raise UsageError(
                    f"{path}: expected the columns label,partner, found "
                    f"{','.join(reader.fieldnames or ()) or 'nothing'}; add a header line"
                )
            pairs = [(row["label"].strip(), (row["partner"] or "").strip()) for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--pairs {path}: expected a CSV file, got: {error}") from None
    seen: dict[str, str] = {}
    for pair in pairs:
        for label, partner in (pair, pair[::-1]):
            if not label or label == partner or seen.setdefault(label, partner) != partner:
                raise UsageError(
                    f"{path}: {label!r} is paired with {partner!r} and with "
                    f"{seen.get(label, '')!r}; each class has one partner, another than itself"
                )
    # A table may list both directions; one of them is the pair.
    return tuple(dict.fromkeys(pair if pair[0] < pair[1] else pair[::-1] for pair in pairs))
