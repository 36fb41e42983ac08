"""Keys of what comes next, for groups with order by key: the leader reads, the machine is told.

The machine looks into no payload (ruling 11), and a record's key lies there. What is told is
true for ever, since batches do not change: so it does no harm if another request was faster,
or another leader tells it again.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    BadBatch,
    CodecUnavailable,
    NotPermitted,
    OffsetOutOfRange,
    RaftlogError,
    RecordTooLarge,
    WrongQueue,
)
from raftlog.base.ids import Offset
from raftlog.base.limits import KEYS_PER_RECEIVE_MAX, KIB
from raftlog.broker.lease_commands import KeyRuns
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queue_groups import QueueGroup
from raftlog.node.ports import Reader
from raftlog.service.read import ReadRequest, ReadResult, ReadService
from raftlog.wire.batch import Batch, batch_facts, parse_batch_header
from raftlog.wire.batch_header import table_of
from raftlog.wire.codecs import Codec
from raftlog.wire.record_table import key_hash, parse_table

READ_BYTES: Final = 256 * KIB
LOOKED_AHEAD: Final = 4
"""So many times the messages asked for: others of a key may have to wait."""
LOOKED_AHEAD_MIN: Final = 64
AT_ONCE_BYTES: Final = 16 * KIB
"""More, or what is compressed, is opened off the loop."""
KNOWN_MAX: Final = 256
"""Batches whose keys are remembered: several requests may take from one."""

OnKeys = Callable[[KeyRuns | RaftlogError], None]
Hashes = tuple[int, ...]


class _Untold(NamedTuple):
    """A batch whose keys can't be told, and why."""

    base: int
    end: int
    why: str


class FifoKeys:
    """Reads keys for one shard."""

    def __init__(self, read: ReadService, reader: Reader) -> None:
        self.read: Final = read
        self.reader: Final = reader
        self.known: Final[OrderedDict[tuple[int, int], Hashes]] = OrderedDict()
        self._untold: Final[dict[int, _Untold]] = {}
        """By queue the batch whose keys could not be told last."""

    def tell(self, group: QueueGroup, count: int, done: OnKeys) -> None:
        """Find the keys of what ``group`` leases next; ``done`` is called once, perhaps at once.

        An error if nothing could be told because a batch does not open here.
        """
        _Telling(self, group, count, done).go_on()

    @property
    def alarm(self) -> str | None:
        """What somebody has to look at: groups that go no further; None: nothing.

        They are told of it only if no other queue has something for them.
        """
        stuck = []
        for queue, untold in list(self._untold.items()):
            names = self._stuck_at(queue, untold)
            if names:
                stuck.append(f"group {names[0]!r} in queue {queue}: {untold.why}")
            else:
                del self._untold[queue]
        if not stuck:
            return None
        return (
            f"{len(stuck)} queue(s) can't be read on in order by key or by a filter, and what "
            f"comes behind stays there: {stuck[0]}"
        )

    def _stuck_at(self, queue: int, untold: "_Untold") -> list[str]:
        """Return the groups that need to be told, and whose next message is in that batch."""
        machine: BrokerMachine = self.read.machine
        groups, row = machine.leasing.groups, machine.queues.get(queue)
        if row is None:
            return []
        found = []
        for number in groups.readers(queue):
            group = groups.numbered(number)
            at = max(groups.cursors.rows[number, queue].next, row.start_offset)
            if group is None or not untold.base <= at < untold.end:
                continue
            if group.settings.fifo or machine.leasing.subscriptions.of(group).wanted:
                found.append(group.name)
        return found

    def untold(self, queue: int, base: int, end: int, why: RaftlogError) -> None:
        """The keys of a batch, or which of its records match, can't be told here."""
        self._untold[queue] = _Untold(base, end, str(why))

    def told(self, queue: int, base: int) -> None:
        """They can, or those of a later one."""
        untold = self._untold.get(queue)
        if untold is not None and untold.base <= base:
            del self._untold[queue]

    def leadership_lost(self) -> None:
        """Somebody else leads, who may be able to."""
        self._untold.clear()

    def keep(self, queue: int, base: int, hashes: Hashes) -> None:
        """Remember the keys of a batch."""
        self.known[queue, base] = hashes
        if len(self.known) > KNOWN_MAX:
            self.known.popitem(last=False)


class _Telling:
    """The keys for one request under way: one read of each queue, until it is enough."""

    def __init__(self, keys: FifoKeys, group: QueueGroup, count: int, done: OnKeys) -> None:
        self._keys = keys
        self._done = done
        wanted = max(count * LOOKED_AHEAD, LOOKED_AHEAD_MIN)
        self._room = min(wanted, KEYS_PER_RECEIVE_MAX)
        machine: BrokerMachine = keys.read.machine
        places = [(queue.number, at) for queue, at in machine.leasing.unread.queues(group)]
        self._places: Iterator[tuple[int, int]] = iter(places)
        self._queue = self._at = 0
        self._runs: list[tuple[int, int, Hashes]] = []
        self._error: RaftlogError | None = None
        self._is_answered = self._waits = False

    def go_on(self) -> None:
        """Read queue after queue; a loop, since reads are mostly answered at once."""
        while self._room > 0:
            place = next(self._places, None)
            if place is None:
                break
            self._queue, self._at = place
            self._is_answered = self._waits = False
            until = self._at + self._room
            request = ReadRequest(self._queue, Offset(self._at), READ_BYTES, until=until)
            self._keys.read.read(request, self._on_read)
            if not self._is_answered:
                self._waits = True
                return
        if not self._runs and self._error is not None:
            self._done(self._error)
        else:
            self._done(tuple(self._runs))

    def _on_read(self, result: ReadResult | RaftlogError) -> None:
        if isinstance(result, RaftlogError):
            if not isinstance(result, OffsetOutOfRange | WrongQueue | NotPermitted):
                self._error = result
            self._answered()
            return
        unknown = [
            (base, batch)
            for base, batch in zip(result.base_offsets, result.batches, strict=True)
            if (self._queue, base) not in self._keys.known
        ]
        if sum(len(batch) for _, batch in unknown) <= AT_ONCE_BYTES and not any(
            parse_batch_header(batch).codec != Codec.NONE for _, batch in unknown
        ):
            self._take_in(result, open_(unknown))
            return
        self._keys.reader.submit(
            lambda: open_(unknown), lambda found, _: self._take_in(result, found or {})
        )

    def _take_in(self, result: ReadResult, opened: dict[int, Hashes | RaftlogError]) -> None:
        known, queue = self._keys.known, self._queue
        for base, batch in zip(result.base_offsets, result.batches, strict=True):
            hashes = known.get((queue, base)) or opened.get(base)
            if not isinstance(hashes, tuple):
                self._error = hashes
                if hashes is not None:
                    self._keys.untold(queue, base, base + batch_facts(batch)[0], hashes)
                break
            self._keys.told(queue, base)
            if base in opened:
                self._keys.keep(queue, base, hashes)
            told = hashes[max(0, self._at - base) :][: self._room]
            if told:
                self._runs.append((queue, max(base, self._at), told))
            self._room -= len(told)
        self._answered()

    def _answered(self) -> None:
        self._is_answered = True
        if self._waits:
            self.go_on()


def open_(batches: Sequence[tuple[int, Buffer]]) -> dict[int, Hashes | RaftlogError]:
    """Return the hash of each record's key, by base offset; up to a batch that does not open."""
    found: dict[int, Hashes | RaftlogError] = {}
    for base, batch in batches:
        try:
            found[base] = _hashes(batch)
        except (BadBatch, RecordTooLarge, CodecUnavailable) as error:
            text = f"the keys from offset {base} can't be told on this node: {error}"
            found[base] = (
                CodecUnavailable(text) if isinstance(error, CodecUnavailable) else BadBatch(text)
            )
            break
    return found


def _hashes(batch: Buffer) -> Hashes:
    header = parse_batch_header(batch)
    if header.table_length:
        count, _ = batch_facts(batch)
        table = parse_table(table_of(batch, header.table_length), count)
        if table.fifo_key_hashes is not None:
            return table.fifo_key_hashes
    return tuple(
        key_hash(record.key) if record.key is not None else 0 for record in Batch(batch).records()
    )
