"""Walks through the log: all of it is looked at, a bounded stretch for each question."""

from typing import Any

import pytest

from raftlog.base.errors import BadRequest, FaultyEntry, NotLeader, RaftlogError, Unavailable
from raftlog.base.ids import Index
from raftlog.broker.commands import CommandType
from raftlog.broker.places import POSITION_BITS
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroupChanges
from raftlog.broker.timetable import PassTime
from raftlog.service import log_walks
from raftlog.service.log_walks import LogWalks, Spot, Walked
from tests.service.test_tracing import Tracing, batch


class Opened:
    """Looks for groups that are opened; each weighs one."""

    kinds = frozenset({int(CommandType.OPEN_QUEUE_GROUP)})

    def __init__(self) -> None:
        self.looked_at: list[int] = []

    def take(self, spot: Spot) -> tuple[tuple[int, int], int] | None:
        self.looked_at.append(spot.index)
        return ((int(spot.index), spot.number), 1) if b"wanted" in bytes(spot.data) else None


class Walking(Tracing):
    """A shard whose log is walked through."""

    def __init__(self) -> None:
        super().__init__()
        self.walks: LogWalks = self.service.walks

    def open(self, *names: str) -> int:
        """Commit an entry that opens groups; return its index."""
        changes = QueueGroupChanges()
        return self.commit(*(OpenQueueGroup(name, ("first",), changes) for name in names))

    def ask_on(self, position: int, look: Opened | None = None) -> Any:
        """Ask one question."""
        answers: list[Walked[tuple[int, int]] | RaftlogError] = []
        self.walks.walk(position, look or Opened(), answers.append)
        assert not answers, "it is linearizable"
        for _ in range(50):
            self.replica.confirm()
            self.reader.run()
        (answer,) = answers
        return answer

    def all(self, position: int = 0) -> tuple[list[tuple[int, int]], int]:
        """Ask until everything was looked at; return what was found, and in how many questions."""
        found: list[tuple[int, int]] = []
        for questions in range(1, 100):
            answer = self.ask_on(position)
            assert isinstance(answer, Walked), answer
            found += answer.found
            assert position <= answer.next <= answer.end
            position = answer.next
            if position == answer.end:
                return found, questions
        raise AssertionError("it does not come to an end")


def test_everything_is_found_wherever_it_lies() -> None:
    """In memory, in the files, and with one part in each."""
    it = Walking()
    wanted = []
    for number in range(20):
        it.world.store(batch(b"x"))
        at = it.open(f"other-{number}", f"wanted-{number}")
        wanted.append((at, 1))
    for memory_from in (1, 15, 1_000):
        it.replica.memory_from = memory_from
        assert it.all() == (wanted, 1)


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        *(("LOOKED_BYTES_MAX", 200), ("LOOKED_ENTRIES_MAX", 3), ("LOOKED_COMMANDS_MAX", 5)),
        ("FOUND_MAX", 1),
    ],
)
def test_a_question_is_bounded_and_the_next_goes_on(
    limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also within an entry; nothing is found twice or left out."""
    it = Walking()
    wanted = []
    for number in range(10):
        at = it.open(f"wanted-{number}-a", f"other-{number}", f"wanted-{number}-b")
        wanted += [(at, 0), (at, 2)]
    monkeypatch.setattr(log_walks, limit, value)
    monkeypatch.setattr(log_walks, "PIECE_ENTRIES", 2)
    monkeypatch.setattr(log_walks, "PIECE_COMMANDS", 5)
    for memory_from in (1, 1_000):
        it.replica.memory_from = memory_from
        found, questions = it.all()
        assert found == wanted
        assert questions >= 3


def test_a_walk_begins_where_the_log_does_and_says_so() -> None:
    """What retention has trimmed is told by nobody."""
    it = Walking()
    first, second = it.open("wanted-1"), it.open("wanted-2")
    it.replica.machine.state.index.trimmed = Index(first)
    it.entries.trimmed = first
    it.replica.memory_from = 1_000
    answer = it.ask_on(0)
    assert answer.began == second << POSITION_BITS
    assert answer.found == [(second, 0)]


def test_what_is_trimmed_under_way_is_told_by_the_next_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which begins later than it was to: so it can be counted."""
    monkeypatch.setattr(log_walks, "PIECE_ENTRIES", 1)
    it = Walking()
    wanted = [it.open(f"wanted-{number}") for number in range(6)]
    answers: list[Any] = []
    it.walks.walk(wanted[0] << POSITION_BITS, Opened(), answers.append)
    it.replica.confirm()
    it.reader.waiting.pop(0)()
    it.replica.machine.state.index.trimmed = Index(wanted[3])
    it.reader.run()
    (answer,) = answers
    assert answer.found == [(wanted[0], 0), (wanted[1], 0)]
    assert answer.began == wanted[0] << POSITION_BITS
    assert answer.next == wanted[2] << POSITION_BITS
    following = it.ask_on(answer.next)
    assert following.began == wanted[4] << POSITION_BITS
    assert following.found == [(wanted[4], 0), (wanted[5], 0)]


def test_who_asks_at_the_end_is_told_that_it_is_one() -> None:
    """Or beyond it, where nothing is yet."""
    it = Walking()
    it.open("wanted")
    end = it.ask_on(0).end
    answer = it.ask_on(end)
    assert (answer.found, answer.next, answer.end) == ([], end, end)
    answer = it.ask_on(end + 99)
    assert (answer.found, answer.end) == ([], end)
    it.commit(PassTime())
    assert it.ask_on(end).next == end + (1 << POSITION_BITS)


def test_what_cannot_be_read_here_is_said() -> None:
    """Damage, a log that is behind its state, no leader; a look that refuses."""
    it = Walking()
    it.open("wanted")
    it.replica.memory_from = 1_000
    it.entries.error = FaultyEntry(Index(2))
    assert isinstance(it.ask_on(0), Unavailable)
    it.entries.error = NotLeader(None)
    assert isinstance(it.ask_on(0), NotLeader)
    it.entries.error, it.entries.trimmed = None, 2
    assert isinstance(it.ask_on(0), Unavailable)
    answers: list[Any] = []
    it.walks.walk(0, Opened(), answers.append)
    it.replica.confirm(Unavailable("not now"))
    assert isinstance(answers[0], Unavailable)

    class Refusing(Opened):
        def take(self, _spot: Spot) -> tuple[tuple[int, int], int] | None:
            raise BadRequest("no")

    it.replica.memory_from = 1
    assert isinstance(it.ask_on(0, Refusing()), BadRequest)


def test_who_does_not_wait_is_not_answered() -> None:
    """Whenever that is said; and no more of the log is read."""
    it = Walking()
    it.open("wanted")
    answers: list[Any] = []
    look = Opened()
    cancel = it.walks.walk(0, look, answers.append)
    it.replica.confirm()
    cancel()
    it.reader.run()
    assert answers == []
