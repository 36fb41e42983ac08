"""What is due at once and is more than one entry may do: each replica does the same of it.

A replica that ran on may hold a due time that is too early (a lease was extended, a producer
was heard again); one that was restored knows the exact one. Neither may decide by that.
"""

from collections.abc import Callable

import pytest

from raftlog.base.limits import PRODUCER_FORGOTTEN_MS
from raftlog.broker import index, timetable
from raftlog.broker.codec import CommandValue
from raftlog.broker.commands import Command
from raftlog.broker.delays import Delay
from raftlog.broker.invariants import check
from raftlog.broker.lease_commands import ExtendLeases
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.snapshot import parse_snapshot
from raftlog.broker.timetable import PassTime
from raftlog.broker.topics import AlterTopic, TopicChanges
from tests.broker.histories import DAY_MS, HOUR_MS, History
from tests.broker.leases import GROUP, Queue, held
from tests.broker.logs import FIRST, Shard, append, batch_of, delayed, once, sent, stored_at

DEEDS = 3
X, Y = 21, 22
"""Handles, producers."""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry does three deeds, not a thousand."""
    monkeypatch.setattr(timetable, "DUE_PER_ENTRY_MAX", DEEDS)


class Busy(History):
    """Much that falls due, most of it at about the same times, and seldom looked at."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        often: list[Callable[[], Command | CommandValue]] = [
            *[self._append] * 4,
            *[self._append_once] * 4,
            *[self._receive] * 8,
            *[self._extend] * 6,
            *[self._soon] * 8,
        ]
        self._makers.extend(often * 2)

    def run(self, entries: int) -> "Busy":
        for _ in range(entries):
            super().run(1)
            if self.random.random() < 0.05:  # what is due meanwhile is too much for an entry
                self.log_time_ms += self.random.choice((60_000, 5 * HOUR_MS, 8 * DAY_MS))
        return self

    def _soon(self) -> Command:
        ms = self.random.choice((1_000, 1_001, 60_000, 100_000, 2_000_000))
        return delayed(Delay(ms, relative=True), self._queue())


def restored(machine: BrokerMachine) -> BrokerMachine | None:
    """Return a replica that begins with the snapshot which the machine has just cut, if any."""
    frozen = machine.take_snapshot()
    if frozen is None:
        return None
    snapshot = parse_snapshot(b"".join(frozen.chunks()))
    frozen.end()
    assert snapshot.index == machine.applied
    late = BrokerMachine()
    late.restore(
        [each for each in machine.ranges if each.last_index > snapshot.facts.trimmed], snapshot
    )
    return late


@pytest.mark.parametrize("seed", range(8))
def test_a_restored_machine_leaves_to_the_next_entry_what_the_others_do(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random histories: every outcome, and the state after each entry, are the same."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 12)
    machine = BrokerMachine()
    late: list[BrokerMachine] = []
    for entry in Busy(seed).run(250).entries:
        outcomes = repr(machine.apply(entry))
        for each in late:
            assert repr(each.apply(entry)) == outcomes
            assert each.digest() == machine.digest(), f"entry {entry.index}"
        begun = restored(machine)
        if begun is not None:
            late = [*late[-7:], begun]
    assert late
    check(machine)


def cut(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> BrokerMachine:
    """Return a replica that is restored here and now."""
    with monkeypatch.context() as patch:
        patch.setattr(index, "RANGE_POSTINGS", 1)
        shard(PassTime())
    late = restored(shard.machine)
    assert late is not None
    return late


def leases() -> tuple[Shard, int]:
    """Two leases; the holder of the first one works on, the other one is dead."""
    queue = Queue(2)
    assert queue.lease(X) == [0]
    due_ms = queue.log_time_ms + 30_000
    queue.log_time_ms += 2
    assert queue.lease(Y) == [1]
    queue(ExtendLeases(GROUP, held(X, 0), 60_000))
    return queue, due_ms


def producers() -> tuple[Shard, int]:
    """Two producers; the first one is heard again."""
    shard = Shard()
    (queue,) = shard.topic()
    shard(sent(queue, X, 0))
    due_ms = shard.log_time_ms + PRODUCER_FORGOTTEN_MS
    shard.log_time_ms += 2
    shard(sent(queue, Y, 0))
    shard.log_time_ms += 2
    shard(sent(queue, X, 1))
    return shard, due_ms


def ids() -> tuple[Shard, int]:
    """Two topics with an id each; the first one's are remembered for longer from now on."""
    shard = Shard()
    (one,), (two,) = shard.topic("orders"), shard.topic("others")
    shard(once(one, "x"))
    window_ms = shard.machine.topics.find("orders").settings.id_window_ms
    due_ms = shard.log_time_ms + window_ms
    shard.log_time_ms += 2
    shard(once(two, "y"))
    shard(AlterTopic("orders", TopicChanges(id_window_ms=2 * window_ms)))
    return shard, due_ms


@pytest.mark.parametrize("kind", [leases, producers, ids])
def test_a_due_time_that_is_too_early_moves_nothing_forward(
    kind: Callable[[], tuple[Shard, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due 2 ms after it comes behind the bodies that are due 1 ms after it.

    Else n1 does it first and delivers one body less than n2, and the same send has another
    offset on each of them.
    """
    shard, due_ms = kind()
    for _ in range(2):
        shard.all_of(*[delayed(Delay(due_ms + 1, relative=False)) for _ in range(DEEDS)])
    shard.log_time_ms = due_ms - 3
    late = cut(shard, monkeypatch)
    assert late.digest() == shard.machine.digest()
    end = shard.machine.queues.find(FIRST).end_offset
    shard.log_time_ms = due_ms + 4
    for delivered in (DEEDS, 2 * DEEDS + 1, 2 * DEEDS + 2):
        at = stored_at(end + delivered, 1, len(shard.entries) + 1)
        assert shard(append(batch_of(b"order"))) == at
        assert list(late.apply(shard.entries[-1])) == [at]
        assert late.digest() == shard.machine.digest()
