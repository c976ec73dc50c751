"""What is too much to refuse, and when it is all right again."""

from __future__ import annotations

from streams.guard import Acceptance, RefusalGuard, RefusalLimits

LIMITS = RefusalLimits(run_max=10, ratio_max=0.5, window=100)


def test_a_run_of_refusals_stops() -> None:
    """So many in a row are too many, however few they are of all."""
    guard = RefusalGuard(LIMITS)
    assert guard.note(1_000, 9, 9) == ""
    assert guard.note(1_000, 10, 10) == "10 updates in a row were refused"


def test_a_share_of_refusals_stops_once_a_window_is_full() -> None:
    """More than half of the last hundred stop; of the first ninety nothing is said yet."""
    guard = RefusalGuard(LIMITS)
    for _ in range(9):
        assert guard.note(4, 6, 1) == ""
    assert "60 of the last 100" in guard.note(4, 6, 1)


def test_old_steps_leave_the_window() -> None:
    """What was bad long ago does not count."""
    guard = RefusalGuard(LIMITS)
    assert guard.note(20, 30, 1) == ""
    for _ in range(20):
        assert guard.note(9, 1, 1) == ""
    assert guard.note(41, 59, 1) == "59 of the last 100 updates were refused"


def test_accepting_lasts_until_a_window_was_good() -> None:
    """After an operator's word a bad stretch passes to its end; the next one stops again."""
    guard = RefusalGuard(LIMITS)
    assert guard.note(0, 10, 10) != ""
    guard.accept()
    assert guard.note(0, 50, 60) == ""
    assert guard.note(100, 0, 0) == ""
    assert guard.note(0, 10, 10) != ""


def test_limits_can_be_turned_off() -> None:
    """A run of 0 and a share of 1 never stop anything."""
    guard = RefusalGuard(RefusalLimits(run_max=0, ratio_max=1.0, window=100))
    assert [guard.note(0, 1_000, 1_000) for _ in range(5)] == [""] * 5


def test_an_acceptance_names_what_it_covers() -> None:
    """Without a name it is for every stopped partition, with one for that alone."""
    assert Acceptance().covers("events", 3)
    assert Acceptance("events", 3).covers("events", 3)
    assert not Acceptance("events", 3).covers("events", 2)
    assert not Acceptance("webhooks").covers("events", 0)
