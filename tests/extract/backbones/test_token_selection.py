import pytest
import torch

from stepcli.extract.backbones.base import BackboneFacts, FrameTokens
from stepcli.extract.backbones.bundled import PLAN
from stepcli.extract.backbones.token_selection import parse_tokens
from stepcli.runtime.errors import UsageError

VIT = BackboneFacts(
    name="vit", source="", plan=PLAN, dim=5, grid=(6, 6), prefix=("cls", "register1")
)
CONV = BackboneFacts(name="conv", source="", plan=PLAN, dim=5, grid=(7, 7), prefix=())


def tokens_of(facts: BackboneFacts) -> FrameTokens:
    torch.manual_seed(0)
    rows, columns = facts.grid
    return FrameTokens(
        torch.randn(3, len(facts.prefix), facts.dim), torch.randn(3, rows, columns, facts.dim)
    )


def test_segments_stand_in_the_order_asked_for() -> None:
    selection = parse_tokens("grid2,cls,full", VIT)
    assert [segment.name for segment in selection.segments] == ["grid2", "cls", "prefix", "patches"]
    tokens = tokens_of(VIT)
    stored = selection.reduce(tokens)
    assert stored.shape == (3, 4 + 1 + 2 + 36, 5)
    assert torch.equal(stored[:, 4], tokens.prefix[:, 0])
    assert torch.equal(stored[:, 5:7], tokens.prefix)
    assert torch.equal(stored[:, 7:], tokens.patches.flatten(1, 2))


def test_a_grid_holds_the_means_of_its_cells_row_by_row() -> None:
    tokens = tokens_of(VIT)
    stored = parse_tokens("grid3", VIT).reduce(tokens)
    for row in range(3):
        for column in range(3):
            cell = tokens.patches[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            torch.testing.assert_close(stored[:, 3 * row + column], cell.mean((1, 2)))


def test_a_grid_that_does_not_divide_overlaps_at_the_seams() -> None:
    tokens = tokens_of(CONV)
    stored = parse_tokens("grid2", CONV).reduce(tokens)
    torch.testing.assert_close(stored[:, 0], tokens.patches[:, :4, :4].mean((1, 2)))
    torch.testing.assert_close(stored[:, 3], tokens.patches[:, 3:, 3:].mean((1, 2)))


def test_the_finest_grid_is_the_patches_themselves() -> None:
    tokens = tokens_of(CONV)
    assert torch.equal(parse_tokens("grid7", CONV).reduce(tokens), tokens.patches.flatten(1, 2))


@pytest.mark.parametrize(
    ("text", "facts", "message"),
    [
        ("grid", VIT, "expected cls, grid<k>"),
        ("grid0", VIT, "expected cls, grid<k>"),
        ("", VIT, "expected cls, grid<k>"),
        ("grid7", VIT, "has 6 x 6 patches; ask for grid6 at most"),
        ("cls", CONV, "has no CLS token"),
        ("cls,cls", VIT, "asked for twice"),
    ],
)
def test_what_cannot_be_stored_is_refused(text: str, facts: BackboneFacts, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_tokens(text, facts)
