"""The invariant of delayed batches sees what it is for: early, twice, cancelled, gone."""

import pytest

from chaos.check.delayed_delivery import DelayedDelivery, Pending
from chaos.check.sends_kept import Sends
from chaos.check.violation import Violation
from raftlog.base.limits import CANCELLED_KNOWN_MS

KEY = (3, 50)


def pending(due_ms: int = 100, id_: int = 50) -> Pending:
    """A batch in entry 7."""
    return Pending(3, id_, due_ms, 1, 7, 20, b"data")


@pytest.fixture
def delayed() -> DelayedDelivery:
    made = DelayedDelivery()
    made.hidden(pending(), 10)
    return made


def test_what_is_due_comes_in_order_and_once(delayed: DelayedDelivery) -> None:
    """By time, then in the order of sending."""
    delayed.hidden(pending(90, 51), 10)
    delayed.hidden(pending(100, 49), 10)
    assert delayed.due(99) == [pending(90, 51)]
    assert [batch.id for batch in delayed.due(100)] == [49, 50]
    assert delayed.due(1_000) == []


def test_a_handle_is_given_once_and_for_the_future(delayed: DelayedDelivery) -> None:
    """Whatever became of the first."""
    with pytest.raises(Violation, match="given to two"):
        delayed.hidden(pending(), 10)
    delayed.due(100)
    with pytest.raises(Violation, match="given to two"):
        delayed.hidden(pending(200), 10)
    with pytest.raises(Violation, match="due at 5"):
        delayed.hidden(pending(5, 51), 10)


def test_a_cancel_is_told_what_is_true(delayed: DelayedDelivery) -> None:
    """Before, after, and again."""
    with pytest.raises(Violation, match="it is not"):
        delayed.told_delivered(KEY, 100)
    with pytest.raises(Violation, match="unknown"):
        delayed.told_unknown(KEY, 100, 20)
    with pytest.raises(Violation, match="was not"):
        delayed.cancelled(KEY, 101)
    assert delayed.cancelled(KEY, 100) == pending()
    assert delayed.cancelled(KEY, 100) is None
    assert delayed.due(1_000) == []
    with pytest.raises(Violation, match="it is not"):
        delayed.told_delivered(KEY, 100)
    with pytest.raises(Violation, match="unknown"):
        delayed.told_unknown(KEY, 100, 1_000)
    delayed.told_unknown(KEY, 100, 100 + CANCELLED_KNOWN_MS)


def test_a_late_cancel_is_told_so(delayed: DelayedDelivery) -> None:
    """And not that it was cancelled."""
    delayed.due(100)
    delayed.told_delivered(KEY, 100)
    with pytest.raises(Violation, match="was not"):
        delayed.cancelled(KEY, 100)
    with pytest.raises(Violation, match="unknown"):
        delayed.told_unknown(KEY, 100, 200)


def test_a_copy_has_the_very_bytes(delayed: DelayedDelivery) -> None:
    """It is made from where the batch lies."""
    assert not delayed.relocated(KEY, (6, 20), (9, 1), b"data")
    with pytest.raises(Violation, match="other bytes"):
        delayed.relocated(KEY, (7, 20), (9, 1), b"date")
    assert delayed.relocated(KEY, (7, 20), (9, 1), b"data")
    (batch,) = delayed.due(100)
    assert (batch.index, batch.position) == (9, 1)


def test_what_is_pending_is_not_trimmed(delayed: DelayedDelivery) -> None:
    """But what was pending in a deleted topic may be."""
    delayed.trimmed(6)
    with pytest.raises(Violation, match="lies in entry 7"):
        delayed.trimmed(7)
    delayed.closed({3})
    delayed.trimmed(7)


def test_the_owner_of_a_record_hears_the_truth_of_its_delay() -> None:
    """Handle, cancelled, delivered."""
    sends = Sends()
    sends.sends(b"v")
    with pytest.raises(Violation, match="acked as"):
        sends.acked_later(b"v", KEY)
    sends.hidden(b"v", KEY)
    with pytest.raises(Violation, match="is hidden as"):
        sends.hidden(b"v", KEY)
    with pytest.raises(Violation, match="hears"):
        sends.never(b"v", "not stored")
    sends.acked_later(b"v", KEY)
    with pytest.raises(Violation, match="not visible"):
        sends.delivered(b"v")
    sends.cancelled(b"v")
    with pytest.raises(Violation, match="cancelled"):
        sends.stored(b"v", 3, 0)
    sends.sends(b"w")
    sends.hidden(b"w", (3, 51))
    sends.stored(b"w", 3, 0)
    with pytest.raises(Violation, match="cancelled"):
        sends.cancelled(b"w")
    with pytest.raises(Violation, match="nobody sent"):
        sends.hidden(b"x", (3, 52))
