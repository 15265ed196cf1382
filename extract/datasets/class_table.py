"""Class tables from names and pairs of names."""

from collections.abc import Iterable, Mapping, Sequence

from stepcli.cache.schema.clips import ClassRow
from stepcli.runtime.errors import UsageError


def class_rows(
    names: Sequence[str],
    *,
    partners: Iterable[tuple[str, str]] = (),
    mirrors: Iterable[tuple[str, str]] = (),
    prompts: Mapping[str, str] | None = None,
) -> tuple[ClassRow, ...]:
    """Classes in the given order; a class with a partner is equivariant under time reversal.

    Args:
        names: every class, in the order of its index.
        partners: nearly symmetric pairs; names that the data set has not are left out, since a
            subset of a data set keeps the pairs that are whole.
        mirrors: pairs that a horizontal flip swaps; a half whose other is not here keeps its name,
            so that a flip of it is refused instead of mislabelled.
        prompts: class name -> text for a text tower.

    Raises:
        UsageError: a class is in two pairs, or is paired with itself.
    """
    known = set(names)
    partner_of = _both_ways([pair for pair in partners if known.issuperset(pair)])
    mirror_of = _both_ways(mirrors)
    return tuple(
        ClassRow(
            name,
            index,
            partner=partner_of.get(name, ""),
            kind="equivariant" if name in partner_of else "",
            mirror=mirror_of.get(name, ""),
            prompt=(prompts or {}).get(name, ""),
        )
        for index, name in enumerate(names)
    )


def _both_ways(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    other: dict[str, str] = {}
    for pair in pairs:
        for name, partner in (pair, pair[::-1]):
            if name == partner or other.get(name, partner) != partner:
                raise UsageError(
                    f"the class {name!r} is paired with {other.get(name, name)!r} and with "
                    f"{partner!r}; a class has one partner, and not itself"
                )
            other[name] = partner
    return other
