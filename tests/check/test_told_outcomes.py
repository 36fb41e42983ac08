"""What somebody was told of a change, against the log."""

import pytest

from chaos.check.told_outcomes import ToldOutcomes
from chaos.check.violation import Violation

CHANGE = ("commit", "billing", 3, 7)


def test_what_was_told_done_is_in_the_log_since_it_was_asked_for() -> None:
    outcomes = ToldOutcomes()
    asked = outcomes.asks(CHANGE, 10)
    outcomes.carried_out(CHANGE, 11, "so")
    outcomes.told(asked, "so")
    with pytest.raises(Violation, match=r"told_outcomes: .* is told as 'otherwise'"):
        outcomes.told(asked, "otherwise")


def test_what_was_done_before_it_was_asked_for_is_something_else() -> None:
    """The answer comes from a look at what is there: who has answered may be behind."""
    outcomes = ToldOutcomes()
    first = outcomes.asks(CHANGE, 10)
    outcomes.carried_out(CHANGE, 11, "so")
    again = outcomes.asks(CHANGE, 11)
    outcomes.told(first, "so")
    with pytest.raises(Violation, match=r"since entry 11, .* the log has \[\]"):
        outcomes.told(again, "so")


def test_what_was_told_done_and_is_nowhere_is_seen() -> None:
    outcomes = ToldOutcomes()
    with pytest.raises(Violation, match=r"the log has \[\]"):
        outcomes.told(outcomes.asks(CHANGE, 0), "so")


def test_what_was_told_failed_is_not_done_later() -> None:
    outcomes = ToldOutcomes()
    outcomes.failed(outcomes.asks(CHANGE, 10))
    with pytest.raises(Violation, match="is done at 12, and was asked for too seldom"):
        outcomes.carried_out(CHANGE, 12, "so")


def test_what_was_done_is_not_told_failed() -> None:
    outcomes = ToldOutcomes()
    asked = outcomes.asks(CHANGE, 10)
    outcomes.carried_out(CHANGE, 12, "so")
    with pytest.raises(Violation, match=r"told to have failed, .* done at \[12\]"):
        outcomes.failed(asked)


def test_what_nobody_has_answered_may_be_done_once_and_late() -> None:
    """Of two askings one failed; the other one is as good as either."""
    outcomes = ToldOutcomes()
    lost, refused = outcomes.asks(CHANGE, 10), outcomes.asks(CHANGE, 10)
    outcomes.failed(refused)
    outcomes.carried_out(CHANGE, 90, "so")
    with pytest.raises(Violation, match=r"asked for too seldom; done at \[90, 91\]"):
        outcomes.carried_out(CHANGE, 91, "so")
    assert lost.floor == 10


def test_what_nobody_has_asked_for_is_seen() -> None:
    with pytest.raises(Violation, match="is done at 5, and was asked for too seldom"):
        ToldOutcomes().carried_out(CHANGE, 5, "so")
