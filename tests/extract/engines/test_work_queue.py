"""Every clip is with one worker at a time until it is stored, whoever is lost on the way."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stepcli.extract.datasets.clip import Clip
from stepcli.extract.engines.work_queue import Handout, WorkerState

HERE = WorkerState("here", 1)


def make_clips(count: int) -> list[Clip]:
    return [Clip(f"clip-{i}", Path(f"{i}.mp4"), "label") for i in range(count)]


def test_groups_are_small_and_end() -> None:
    handout = Handout(make_clips(5))
    handout.join("a", HERE)
    assert [len(handout.next("a", 2)) for _ in range(4)] == [2, 2, 1, 0]


def test_what_a_lost_worker_had_not_stored_waits_behind_the_rest() -> None:
    handout = Handout(make_clips(4))
    handout.join("a", HERE)
    handout.join("b", HERE)
    assert [clip.id for clip in handout.next("a", 2)] == ["clip-0", "clip-1"]
    had = handout.left("a")
    assert handout.outstanding() == 2
    handout.again(had[1:])  # the first it had stored
    assert [clip.id for clip in handout.next("b", 9)] == ["clip-2", "clip-3", "clip-1"]


def test_a_worker_that_never_joined_had_nothing() -> None:
    assert Handout(make_clips(2)).left("a") == []


def test_a_worker_taken_for_lost_that_is_not_gets_nothing_and_is_told_to_stop() -> None:
    handout = Handout(make_clips(4))
    handout.join("a", HERE)
    handout.next("a", 1)
    assert handout.report("a", 1, 0)
    handout.again(handout.left("a"))
    assert handout.next("a", 1) == []
    assert not handout.report("a", 1, 0)
    assert handout.waiting() == 4


def test_nothing_is_handed_out_after_a_stop() -> None:
    handout = Handout(make_clips(2))
    handout.join("a", HERE)
    handout.stop()
    assert handout.next("a", 2) == []
    assert not handout.report("a", 0, 0)


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 3), st.sampled_from("nnnfl"))))
def test_no_clip_is_lost_or_with_two(count: int, moves: list[tuple[int, str]]) -> None:
    clips = make_clips(count)
    handout = Handout(clips)
    stored: set[str] = set()
    having: dict[str, set[str]] = {}
    for number, move in [*moves, *((w, "f") for w in range(4)), (9, "n"), (9, "f")]:
        worker = str(number)
        if worker not in having:
            handout.join(worker, WorkerState("here", number))
            having[worker] = set()
        if move == "n":
            given_now = {clip.id for clip in handout.next(worker, 4 if number < 9 else count)}
            assert not any(given_now & held for held in having.values())
            having[worker] |= given_now
        elif move == "f":
            stored |= {clip.id for clip in handout.left(worker)}
            assert having.pop(worker) <= stored
        else:
            had = handout.left(worker)
            assert {clip.id for clip in had} == having.pop(worker)
            stored |= {clip.id for clip in had[::2]}
            handout.again(had[1::2])
    assert stored == {clip.id for clip in clips}
    assert handout.outstanding() == 0
