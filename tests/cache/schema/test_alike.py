"""Names that look alike: found, shown so that they can be told apart, and matched where safe."""

import pytest

from stepcli.cache.schema.alike import alike, alike_warning, composed
from stepcli.cache.schema.matching import match_ids

NFD = "O\u0308ffnen"
NFC = "\u00d6ffnen"


@pytest.mark.parametrize(
    "names",
    [
        ("open", "Open"),
        ("open door", "open_door", "open-door", "Open  Door"),
        ("open", " open"),
        ("open door", "open\u00a0door"),
        (NFC, NFD),
        ("open", "open\u200b"),
        ("\uff2f\uff50\uff45\uff4e", "open"),  # full width
        ("Stra\u00dfe", "strasse"),
        ("s7", "s07", "s007"),
        ("7", "7.0"),
    ],
)
def test_names_that_look_alike(names: tuple[str, ...]) -> None:
    assert alike(["other", *names]) == [sorted(names)]


@pytest.mark.parametrize(
    "names",
    [
        ("open", "opens"),
        ("s1", "s-1"),
        ("-1", "1", "+1"),
        ("s 1", "s 11"),
        ("put on", "put off"),
        ("a/b", "a b"),
        ("0", "00 1", "10", "100"),
        ("0.5", "5", "0.05", "1.05", "1.5"),
        ("v1.0.1", "v1.1"),
    ],
)
def test_names_that_do_not(names: tuple[str, ...]) -> None:
    assert alike(names) == []


def test_the_warning_tells_them_apart() -> None:
    found = alike_warning([NFC, NFD, NFC, "open", "Open", "close", ""], "label")
    assert found == (
        f"labels that look alike count as different ones: 'Open' (1 clip) and 'open' (1 clip), "
        f"'O\\u0308ffnen' (1 clip) and '{NFC}' (2 clips); if they are one, correct them in the "
        "list, or with stepcli store labels --from"
    )
    assert alike_warning(["", " ", "a"], "group") is None


def test_ids_match_in_either_form() -> None:
    assert composed(NFD) == NFC
    assert composed("open") == "open"
    assert match_ids("list", [NFC, "a"], [NFD + " ", "a"]) == ([NFD + " ", "a"], [])
    # Where two ids of the store look the same, only the exact one is meant.
    names, notes = match_ids("list", [NFD, NFC + " "], [NFD, NFC])
    assert names == [NFD, None]
    assert len(notes) == 1
