"""Burying: the leader makes a dead letter of each message whose attempts are used up.

::

    dead, in flight --> its record is read --> a batch of one record, with what is known of it
                    --> DeadLetter: stored in the group's topic, and finished, by one command

A letter has the record's key, value, tag, time and headers, and headers of its own (``Fact``).
Where these have no room it has only those of the record; and where this node can't open the
batch, a batch of one record goes there as it is. What can't be buried now is dead, and in
flight, until it can: an alarm says so.
"""

from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from itertools import islice
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, CodecUnavailable, RaftlogError, RecordTooLarge
from raftlog.base.ids import Index, Offset, Term
from raftlog.broker.commands import CommandType
from raftlog.broker.dead_letters import dead_letter_parts
from raftlog.broker.flights import Key
from raftlog.node.ports import Reader, Timer
from raftlog.service.read import ReadRequest, ReadResult, ReadService
from raftlog.wire.batch import Batch, Headers, Record, batch_facts, encode_batch

AT_ONCE_MAX: Final = 64
"""Letters under way."""
RETRY_NS: Final = 1_000_000_000
RETRY_NS_MAX: Final = 64_000_000_000
"""Each time that nothing could be buried the wait doubles, up to this."""


class Fact(StrEnum):
    """Headers of a dead letter: why it is one, and of what."""

    GROUP = "dead-letter-group"
    TOPIC = "dead-letter-topic"
    QUEUE = "dead-letter-queue"
    OFFSET = "dead-letter-offset"
    ATTEMPTS = "dead-letter-attempts"
    REASON = "dead-letter-reason"


class Burying:
    """Buries for one shard, while this node leads it."""

    def __init__(self, read: ReadService, reader: Reader) -> None:
        self._replica: Final = read.replica
        self._machine: Final = read.machine
        self._scheduler: Final = read.scheduler
        self._read: Final = read
        self._reader: Final = reader
        self._leads = False
        self._reign = 0
        self._timer: Timer | None = None
        self._under_way: Final[set[Key]] = set()
        self._to_do: Final[deque[Key]] = deque()
        self._failed: Final[dict[Key, str]] = {}
        """What is tried again when the timer fires, and why it failed."""
        self._seen = 0
        """So many deaths were noticed."""
        self._retry_ns = RETRY_NS
        self._is_called = False
        self.buried = 0
        read.replica.on_applied(self._applied)

    def begin(self) -> None:
        """This node leads."""
        self.end()
        self._leads = True
        flights = self._machine.leasing.flights
        self._seen = flights.deaths
        self._to_do.extend(flights.dead)
        self._look()

    def end(self) -> None:
        """Somebody else leads, or nobody."""
        self._leads = False
        self._reign += 1
        self._under_way.clear()
        self._to_do.clear()
        self._failed.clear()
        self._retry_ns = RETRY_NS
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def alarm(self) -> str | None:
        """What somebody has to look at: messages that can't become dead letters; None: nothing."""
        dead = self._machine.leasing.flights.dead
        stuck = [key for key in self._failed if key in dead]
        if not stuck:
            return None
        number, queue, offset = stuck[0]
        group = self._machine.leasing.groups.numbered(number)
        name = "a deleted group" if group is None else f"group {group.name!r}"
        return (
            f"{len(stuck)} message(s) of queue-style groups can't become dead letters, and stay "
            f"in flight: {name}, queue {queue}, offset {offset}: {self._failed[stuck[0]]}"
        )

    def _applied(self, _index: Index) -> None:
        flights = self._machine.leasing.flights
        if self._leads and flights.deaths != self._seen:
            # Not all of them, with each entry: those that died last.
            died = islice(reversed(flights.dead), flights.deaths - self._seen)
            self._to_do.extend(reversed(list(died)))
            self._seen = flights.deaths
            self._look()

    def _look(self) -> None:
        dead, under_way = self._machine.leasing.flights.dead, self._under_way
        while self._to_do and len(under_way) < AT_ONCE_MAX:
            key = self._to_do.popleft()
            if key in dead and key not in under_way:
                under_way.add(key)
                self._bury(key)

    def _look_again(self) -> None:
        self._timer = None
        dead = self._machine.leasing.flights.dead
        for key in [key for key in self._failed if key not in dead]:
            del self._failed[key]
        self._to_do.extend(self._failed)
        self._look()

    def _bury(self, key: Key) -> None:
        _, queue, offset = key
        reign = self._reign

        def on_read(result: ReadResult | RaftlogError) -> None:
            if reign != self._reign:
                return
            if isinstance(result, ReadResult):
                self._make(key, offset - result.base_offsets[0], result.batches[0])
            else:  # its topic can be read again, or a peer's copy repairs it
                self._later(key, result)

        request = ReadRequest(queue, Offset(offset), 1, until=offset + 1)
        self._read.read(request, on_read)

    def _make(self, key: Key, number: int, batch: Buffer) -> None:
        facts = self._facts(key)
        if facts is None:
            self._ended(key)
            return
        reign = self._reign

        def on_made(letter: Buffer | None, error: Exception | None) -> None:
            if reign != self._reign:
                return
            if letter is None:
                assert isinstance(error, RaftlogError), f"making a dead letter failed: {error!r}"
                self._later(key, error)
            else:
                self._propose(key, letter)

        self._reader.submit(lambda: letter_of(batch, number, facts), on_made)

    def _facts(self, key: Key) -> Sequence[tuple[str, bytes]] | None:
        """Return the headers of a letter; None if the message is not dead any more."""
        leasing = self._machine.leasing
        row = leasing.flights.get(key)
        group = leasing.groups.numbered(key[0])
        queue = self._machine.queues.get(key[1])
        if row is None or group is None or queue is None:
            return None
        return (
            (Fact.GROUP.value, group.name.encode()),
            (Fact.TOPIC.value, queue.topic.encode()),
            (Fact.QUEUE.value, str(queue.place).encode()),
            (Fact.OFFSET.value, str(row.offset).encode()),
            (Fact.ATTEMPTS.value, str(row.attempts).encode()),
            (Fact.REASON.value, row.reason.encode()),
        )

    def _propose(self, key: Key, letter: Buffer) -> None:
        reign = self._reign

        def on_outcome(outcome: object, _term: Term, _index: Index) -> None:
            if reign != self._reign:
                return
            if key in self._machine.leasing.flights.dead:
                self._later(key, outcome)
                return
            self.buried += not isinstance(outcome, RaftlogError)
            self._retry_ns = RETRY_NS
            self._ended(key)

        parts = dead_letter_parts(*key, letter)
        self._replica.propose(CommandType.DEAD_LETTER, parts, on_outcome)

    def _later(self, key: Key, why: object) -> None:
        """Try again with whatever can't be buried now, all at the same time."""
        self._under_way.discard(key)
        self._failed[key] = str(why)
        if self._timer is None:
            self._timer = self._scheduler.call_later(self._retry_ns, self._look_again)
            self._retry_ns = min(self._retry_ns * 2, RETRY_NS_MAX)
        self._look_soon()

    def _ended(self, key: Key) -> None:
        self._under_way.discard(key)
        self._failed.pop(key, None)
        self._look_soon()

    def _look_soon(self) -> None:
        """Go on with the next one: not from here, or each would be one call deeper."""
        if self._to_do and not self._is_called:
            self._is_called = True
            self._scheduler.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_called = False
        if self._leads:
            self._look()


def letter_of(batch: Buffer, number: int, facts: Sequence[tuple[str, bytes]]) -> Buffer:
    """Return the batch that is the dead letter of one record.

    Raises:
        BadBatch: It does not open, and has other records too.
        CodecUnavailable: Likewise, since this node lacks a package.
        RecordTooLarge: There is no room for it.
    """
    try:
        records = Batch(batch).records()
        record = next(record for at, record in enumerate(records) if at == number)
        mine = {name for name, _ in facts}
        kept = [header for header in record.headers if header[0] not in mine]
        try:
            return _letter(record, (*kept, *facts))
        except RecordTooLarge:
            if batch_facts(batch)[0] == 1:
                return batch
            return _letter(record, record.headers)
    except (BadBatch, CodecUnavailable, RecordTooLarge):
        if batch_facts(batch)[0] == 1:
            return batch
        raise


def _letter(record: Record, headers: Headers) -> Buffer:
    letter = Record(record.value, record.key, headers, record.timestamp_ms, record.tag)
    return encode_batch([letter], timestamp_ms=record.timestamp_ms)
