"""Hand-overs in a cooperative group, and trims of the log, each against facts that break it."""

import pytest

from chaos.check.hand_overs import HandOvers
from chaos.check.queue_reads import StoredBatch
from chaos.check.trims_true import check_trim
from chaos.check.violation import Violation

GROUP = "billing"
BATCHES = {
    3: [
        StoredBatch(0, 2, log_time_ms=10, index=5, position=40, data=b"first"),
        StoredBatch(2, 1, log_time_ms=20, index=8, position=40, data=b"second"),
    ]
}


def owned() -> HandOvers:
    """Return what is known where m1 has claimed queues 3 and 4."""
    known = HandOvers()
    known.cooperative.add(GROUP)
    known.claimed(GROUP, 3, "m1")
    known.claimed(GROUP, 4, "m1")
    return known


def test_who_has_a_queue_may_claim_it_again() -> None:
    owned().claimed(GROUP, 3, "m1")


def test_a_queue_that_was_not_released_is_nobody_elses() -> None:
    with pytest.raises(Violation, match="m2 of billing claims queue 3, which m1 has not released"):
        owned().claimed(GROUP, 3, "m2")


def test_only_the_queues_that_are_released_are_free() -> None:
    known = owned()
    known.released(GROUP, "m1", [3])
    known.claimed(GROUP, 3, "m2")
    with pytest.raises(Violation, match="claims queue 4"):
        known.claimed(GROUP, 4, "m2")


def test_nobody_releases_what_another_has() -> None:
    known = owned()
    known.released(GROUP, "m2", [3])
    with pytest.raises(Violation, match="m1 has not released"):
        known.claimed(GROUP, 3, "m2")


def test_who_leaves_has_no_queue_and_takes_no_other_member_along() -> None:
    known = owned()
    known.left(GROUP, "m2")
    known.left("shipping", "m1")
    with pytest.raises(Violation, match="m1 has not released"):
        known.claimed(GROUP, 3, "m2")
    known.left(GROUP, "m1")
    known.claimed(GROUP, 3, "m2")
    known.claimed(GROUP, 4, "m2")


def test_other_groups_may_take_a_queue_over_at_once() -> None:
    known = owned()
    known.claimed("eager", 3, "m1")
    known.claimed("eager", 3, "m2")


@pytest.mark.parametrize(("through", "start"), [(4, 0), (5, 2), (7, 2), (8, 3)])
def test_a_trim_before_what_can_be_read_is_fine(through: int, start: int) -> None:
    check_trim(through, BATCHES, {3: start}, set())


@pytest.mark.parametrize(
    ("through", "start", "offset"), [(5, 0, 0), (5, 1, 0), (8, 2, 2), (100, 2, 2)]
)
def test_a_trim_of_what_can_be_read_is_seen(through: int, start: int, offset: int) -> None:
    with pytest.raises(Violation, match=f"begins at {start} and has offset {offset} in entry"):
        check_trim(through, BATCHES, {3: start}, set())


def test_a_queue_whose_start_is_not_known_begins_at_its_first_offset() -> None:
    with pytest.raises(Violation, match="begins at 0"):
        check_trim(5, BATCHES, {}, set())


def test_a_deleted_queue_needs_nothing() -> None:
    check_trim(100, BATCHES, {}, {3})
