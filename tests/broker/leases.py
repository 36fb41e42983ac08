"""A queue-style group over one queue, to be worked with by hand."""

from collections.abc import Iterable

from raftlog.broker.commands import Command, CommandType
from raftlog.broker.dead_letters import dead_letter_parts
from raftlog.broker.invariants import check
from raftlog.broker.lease_commands import (
    SCHEDULE,
    AckMessages,
    GiveBack,
    Leased,
    ReceiveMessages,
    ReturnMessages,
)
from raftlog.broker.queue_groups import (
    OpenQueueGroup,
    QueueGroup,
    QueueGroupChanges,
)
from raftlog.broker.timetable import PassTime
from raftlog.wire.record_table import key_hash
from tests.broker.logs import FIRST, Shard, append, batch_of

GROUP = "work"
A, B, C = 11, 12, 13
"""Handles."""


class Queue(Shard):
    """A topic of one queue with some records, and a group that reads it."""

    def __init__(self, records: int = 5, **changes: object) -> None:
        super().__init__()
        self.topic()
        self.send(records)
        made = self(OpenQueueGroup(GROUP, ("orders",), QueueGroupChanges(**changes)))  # type: ignore[arg-type]
        assert isinstance(made, QueueGroup), made
        self.group = made

    def send(self, records: int, queue: int = FIRST) -> None:
        if records:
            self(append(batch_of(*[b"v"] * records), queue))

    def lease(self, handle: int, count: int = 1, keys: Iterable[bytes | None] = ()) -> list[int]:
        """Return the offsets that were leased."""
        hashes = tuple(key_hash(key) if key else 0 for key in keys)
        told = ((FIRST, 0, hashes),) if hashes else ()
        outcome = self(ReceiveMessages(GROUP, handle, count, None, told))
        assert isinstance(outcome, Leased), outcome
        check(self.machine)
        return [offset for _, offset, _ in outcome.messages]

    def attempts(self, handle: int) -> list[int]:
        outcome = self(ReceiveMessages(GROUP, handle, 100))
        assert isinstance(outcome, Leased), outcome
        return [attempts for _, _, attempts in outcome.messages]

    def ack(self, handle: int, *offsets: int) -> object:
        outcome = self(AckMessages(GROUP, held(handle, *offsets)))
        check(self.machine)
        return outcome

    def give(
        self, handle: int, *offsets: int, how: int = GiveBack.RETRY, delay_ms: int = SCHEDULE
    ) -> object:
        command = ReturnMessages(GROUP, held(handle, *offsets), how, delay_ms, "it failed")
        outcome = self(command)
        check(self.machine)
        return outcome

    def pass_ms(self, passed_ms: int) -> None:
        self.log_time_ms += passed_ms
        self(PassTime())
        check(self.machine)

    def bury(self, offset: int, group: int | None = None) -> object:
        number = self.group.number if group is None else group
        parts = dead_letter_parts(number, FIRST, offset, batch_of(b"dead"))
        outcome = self(Command(CommandType.DEAD_LETTER, parts))
        check(self.machine)
        return outcome

    @property
    def in_flight(self) -> int:
        return self.machine.leasing.flights.tally(self.group.number).rows

    @property
    def row(self) -> QueueGroup:
        found = self.machine.leasing.groups.get(GROUP)
        assert found is not None
        return found

    def state_of(self, offset: int) -> int | None:
        row = self.machine.leasing.flights.get((self.group.number, FIRST, offset))
        return None if row is None else row.handle


def held(handle: int, *offsets: int) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
    return ((handle, FIRST, offsets),)
