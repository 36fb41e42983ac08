"""What a thread was given of a consumer: what is to be committed, and what comes again."""

import pytest

from raftlog.base.ids import Offset
from raftlog.client.given import Given
from raftlog.client.receipts import Message


def message(queue: int, offset: int) -> Message:
    return Message("orders", queue, Offset(offset), None, b"v", (), 0, None, None)


def offsets(messages: list[Message]) -> list[tuple[int, int]]:
    return sorted((each.queue, each.offset) for each in messages)


@pytest.fixture
def given() -> Given:
    """Six messages of two queues came; four were given, the last two of them at once."""
    given = Given()
    given.waiting.extend(message(number % 2, number // 2) for number in range(6))
    given.next()
    given.finish()
    given.next()
    given.finish()
    given.take(2)
    return given


def test_what_was_given_is_to_be_committed_and_not_what_waits(given: Given) -> None:
    """Of each queue the last one, however long ago."""
    assert offsets(given.last()) == [(0, 1), (1, 1)]
    given.finish()
    assert offsets(given.take(1)) == [(0, 2)]
    assert offsets(given.last()) == [(0, 2), (1, 1)]
    assert offsets(given.take(100)) == [(1, 2)]
    assert offsets(given.to_finish()) == [(0, 2), (1, 2)]


def test_what_is_committed_is_not_committed_again(given: Given) -> None:
    """Also if it was given since the thread has asked last; what came after it is."""
    given.committed({("orders", 0): 2, ("orders", 1): 1})
    assert offsets(given.last()) == [(1, 1)]
    given.finish()
    given.committed({("orders", 1): 1})
    assert offsets(given.last()) == [(1, 1)]
    given.committed({("orders", 1): 2})
    assert given.to_finish() == []


def test_what_comes_again_is_in_no_commit_and_refuses_until_more_is_asked_for(
    given: Given,
) -> None:
    """It does not wait here either: it comes from where it is read again."""
    given.went_back([("orders", 1)])
    assert offsets(given.last()) == [(0, 1)]
    assert offsets(given.to_finish()) == [(0, 1), (1, 1)]
    given.finish()
    assert offsets(given.to_finish()) == [(0, 1)]
    assert offsets(given.take(100)) == [(0, 2)]


def test_what_is_refused_is_told_once(given: Given) -> None:
    """Nobody knows whether its queue is lost for good: what waits here is given all the same."""
    (refused,) = (each for each in given.last() if each.queue == 1)
    given.refused(refused)
    assert offsets(given.last()) == [(0, 1)]
    assert offsets(given.to_finish()) == [(0, 1), (1, 1)]
    given.finish()
    assert offsets(given.to_finish()) == [(0, 1)]
    assert offsets(given.take(100)) == [(0, 2), (1, 2)]
