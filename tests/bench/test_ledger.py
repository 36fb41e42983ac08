"""The bench believes no log: each way of being wrong shows in the verdict."""

from collections.abc import Callable

import pytest

from raftlog.testing.bench.ledger import Ledger, Values, Verdict

VALUES = Values(20)


def ledger_of(*offsets: int) -> Ledger:
    ledger = Ledger(VALUES.make)
    for offset in offsets:
        ledger.acked(ledger.begin(), offset)
    return ledger


def read(ledger: Ledger, *values: bytes) -> Verdict:
    reading = ledger.reading()
    for offset, value in enumerate(values, start=10):
        reading.record(offset, value)
    return reading.verdict()


ZERO, ONE, TWO = (VALUES.make(number) for number in range(3))


def test_a_log_that_has_what_was_acked_is_verified() -> None:
    """Also when the receipts came in another order than the sends."""
    verdict = read(ledger_of(11, 10, 12), ONE, ZERO, TWO)
    assert verdict.verified
    assert (verdict.acked, verdict.found, verdict.unknown_found) == (3, 3, 0)


def test_sends_of_whole_batches_are_compared_as_batches() -> None:
    """No object per record, and still every byte at its offset."""
    ledger = Ledger(VALUES.make, records_each=5)
    ledger.acked(ledger.begin(), 15)
    ledger.acked(ledger.begin(), 10)
    reading = ledger.reading()
    reading.record(10, ONE)
    reading.record(15, ZERO)
    assert reading.verdict().verified
    shifted = ledger.reading()
    shifted.record(11, ONE)
    shifted.record(16, ZERO)
    assert not shifted.verdict().verified


WRONG: dict[str, Callable[[], Verdict]] = {
    "one is missing at the end": lambda: read(ledger_of(10, 11), ZERO),
    "two are swapped": lambda: read(ledger_of(10, 11), ONE, ZERO),
    "one is altered": lambda: read(ledger_of(10), ZERO[:-1] + b"!"),
    "one more than was sent": lambda: read(ledger_of(10), ZERO, ONE),
    "one is there twice": lambda: read(ledger_of(10), ZERO, ZERO),
    "two sends were given one offset": lambda: read(ledger_of(10, 10), ONE),
    "a record too short to have a number": lambda: read(ledger_of(10), ZERO, b"x"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_log_is_not_verified(case: str) -> None:
    """A figure of a run that lost or invented something is worth nothing."""
    assert not WRONG[case]().verified


def test_a_send_of_unknown_outcome_may_be_there_or_not() -> None:
    """That is what unknown means."""
    for values, found in (([ZERO, ONE], 1), ([ZERO], 0)):
        ledger = ledger_of(10)
        ledger.unknown(ledger.begin())
        verdict = read(ledger, *values)
        assert verdict.verified
        assert verdict.unknown_found == found


def test_a_send_of_unknown_outcome_is_not_there_twice() -> None:
    """One send, one record."""
    ledger = ledger_of(10)
    ledger.unknown(ledger.begin())
    assert not read(ledger, ZERO, ONE, ONE).verified


def test_a_refused_send_is_not_there() -> None:
    """Refused means that it never happened."""
    ledger = ledger_of(10)
    ledger.refused(ledger.begin())
    assert not read(ledger, ZERO, ONE).verified


def test_each_queue_is_compared_by_itself() -> None:
    """Two queues have the same offsets; a record in the wrong one is wrong."""
    ledger = Ledger(VALUES.make)
    ledger.acked(ledger.begin(), 0, 7)
    ledger.acked(ledger.begin(), 0, 3)
    right, wrong = ledger.reading(), ledger.reading()
    right.record(0, ZERO, 7)
    right.record(0, ONE, 3)
    wrong.record(0, ZERO, 3)
    wrong.record(0, ONE, 7)
    assert right.verdict().verified
    assert not wrong.verdict().verified
