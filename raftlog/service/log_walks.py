"""Walks through the log: what its commands say, a bounded stretch for each question.

::

    position --> entries from there on, from memory or the files --> looked into, off the loop
             ^                                                       |
             +------------- work and room are left ------------------+--> what was found, and
                                                                          where to go on

A position names a command as ``CommandPlace.id`` does: entry and number. The log begins behind
what retention has trimmed; a walk that began before that says where it really began. What a
command *came to* is in no log: whoever looks says what was asked for, and what follows from it.
"""

from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from raftlog.base.entry import Buffer, Entry, EntryKind
from raftlog.base.errors import FaultyEntry, RaftlogError, Unavailable
from raftlog.base.ids import Index
from raftlog.base.limits import KIB, MIB
from raftlog.broker.commands import decode
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.places import POSITION_BITS, index_of
from raftlog.node.ports import Reader
from raftlog.service.ports import ShardReplica, StoredEntries
from raftlog.service.proposing import Reply

PIECE_ENTRIES: Final = 500
PIECE_BYTES: Final = 256 * KIB
"""Entries of one look, but for one that is larger: the reader's thread has other work."""
LOOKED_BYTES_MAX: Final = 8 * MIB
LOOKED_ENTRIES_MAX: Final = 20_000
"""A question ends with the piece that passes one of these, whatever was found."""
PIECE_COMMANDS: Final = 1_000
"""Commands that one look reads."""
LOOKED_COMMANDS_MAX: Final = 20_000
"""Likewise, of a question."""
FOUND_MAX: Final = 1_000
"""It ends with the command with which this much was found, as what is found weighs itself."""

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Spot(msgspec.Struct, frozen=True, gc=False):
    """One command in the log."""

    index: Index
    number: int
    """Which of the entry's commands it is, from 0."""
    kind: int
    log_time_ms: int
    body: Buffer
    """The entry's."""
    begin: int
    length: int

    @property
    def data(self) -> Buffer:
        """The command's own bytes."""
        return self.body[self.begin : self.begin + self.length]


class Look(Protocol[T_co]):
    """Looks at commands, one after the other, on the reader's thread."""

    kinds: frozenset[int]
    """Commands of other types are passed over."""

    def take(self, spot: Spot) -> tuple[T_co, int] | None:
        """Return what a command says, and how much that weighs; None: nothing of interest."""


class Walked(msgspec.Struct, Generic[T], frozen=True):
    """What a question found. Positions; all before ``next`` was looked at, from ``began`` on."""

    found: Sequence[T]
    began: int
    """Later than was asked for if the log begins there."""
    next: int
    end: int
    """Behind what is applied: who is there has seen everything."""


class LogWalks:
    """Walks through the log of one shard."""

    def __init__(
        self,
        replica: ShardReplica,
        machine: BrokerMachine,
        reader: Reader,
        entries: StoredEntries,
    ) -> None:
        self.replica: Final = replica
        self.machine: Final = machine
        self.reader: Final = reader
        self.entries: Final = entries

    def walk(self, position: int, look: Look[T], reply: Reply[Walked[T]]) -> Callable[[], None]:
        """Look at the log from ``position`` on; return what cancels that.

        ``reply`` gets why it can't be read here. What was acknowledged before is looked at.
        """
        walk = _Walk(self, position, look, reply)
        self.replica.read_index(walk.begin)
        return walk.cancel


class _Scan(msgspec.Struct, Generic[T]):
    """What one piece of work found."""

    found: list[T]
    weight: int
    next: int
    commands: int


def _scan(entries: Sequence[Entry], position: int, look: Look[T], room: int) -> _Scan[T]:
    """Look at the commands of entries from a position on, until there is no room."""
    found: list[T] = []
    weight = commands = 0
    for entry in entries:
        if entry.kind is not EntryKind.COMMANDS:
            continue
        envelope = decode(entry.body)
        first = position & (1 << POSITION_BITS) - 1 if index_of(position) == entry.index else 0
        for number in range(first, len(envelope)):
            kind, begin, length = envelope.places[number]
            if kind not in look.kinds:
                continue
            spot = Spot(
                *(entry.index, number, kind, envelope.log_time_ms),
                *(entry.body, begin, length),
            )
            taken = look.take(spot)
            commands += 1
            if taken is not None:
                found.append(taken[0])
                weight += taken[1]
            if weight >= room or commands >= PIECE_COMMANDS:
                after = (entry.index << POSITION_BITS | number) + 1
                return _Scan(found, weight, after, commands)
    return _Scan(found, weight, entries[-1].index + 1 << POSITION_BITS, commands)


class _Walk(Generic[T]):
    """One question under way."""

    def __init__(
        self, walks: LogWalks, position: int, look: Look[T], reply: Reply[Walked[T]]
    ) -> None:
        self._walks = walks
        self._position = position
        self._began = position
        self._look = look
        self._reply = reply
        self._ended = False
        self._found: list[T] = []
        self._room = FOUND_MAX
        self._bytes = self._entries = self._commands = 0
        self._end = 0

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._ended = True

    def begin(self, error: RaftlogError | None) -> None:
        """Everything that was acknowledged is applied here."""
        if error is not None:
            self._tell(error)
            return
        self._end = self._walks.machine.applied + 1 << POSITION_BITS
        self._go_on()

    def _go_on(self) -> None:
        is_gone = self._pass_over_trimmed()
        enough = (
            is_gone
            or self._bytes >= LOOKED_BYTES_MAX
            or self._entries >= LOOKED_ENTRIES_MAX
            or self._commands >= LOOKED_COMMANDS_MAX
        )
        if enough or self._room <= 0 or self._position >= self._end:
            self._tell(Walked(self._found, self._began, self._position, self._end))
            return
        index = index_of(self._position)
        kept = self._in_memory(index)
        if kept:
            self._on_entries(kept, None)
        else:
            last = min(index_of(self._end) - 1, index + PIECE_ENTRIES - 1)
            self._walks.entries.read(index, Index(last), self._on_entries)

    def _pass_over_trimmed(self) -> bool:
        """Begin where the log does. What goes while this is under way is the next one's to tell.

        Returns whether the question ends with that.
        """
        first = self._walks.machine.trimmed + 1 << POSITION_BITS
        if self._position >= first:
            return False
        if not self._entries:
            self._position = self._began = first
        return self._entries > 0

    def _in_memory(self, index: Index) -> list[Entry]:
        """Return entries from there on that are at hand, as many as one piece has."""
        kept: list[Entry] = []
        size = 0
        while len(kept) < PIECE_ENTRIES and size < PIECE_BYTES and index < index_of(self._end):
            entry = self._walks.replica.tail(index)
            if entry is None:
                break
            kept.append(entry)
            size += len(entry.body)
            index = Index(index + 1)
        return kept

    def _on_entries(self, entries: Sequence[Entry], error: Exception | None) -> None:
        if self._ended:
            return
        index = index_of(self._position)
        found = [entry for entry in entries if entry.index < index_of(self._end)]
        if isinstance(error, FaultyEntry):
            self._tell(Unavailable(f"entry {index} is damaged here, and is being repaired"))
        elif error is not None:
            self._tell(error if isinstance(error, RaftlogError) else Unavailable(str(error)))
        elif not found and self._walks.machine.trimmed >= index:
            self._go_on()
        elif not found:  # it was trimmed before the state is here that goes with it
            self._tell(Unavailable(f"this node does not have entry {index} now; ask another one"))
        else:
            position, room = self._position, self._room
            self._bytes += sum(len(entry.body) for entry in found)
            self._entries += len(found)
            self._walks.reader.submit(
                lambda: _scan(found, position, self._look, room), self._on_scan
            )

    def _on_scan(self, scan: _Scan[T] | None, error: Exception | None) -> None:
        if self._ended:
            return
        if scan is None:
            assert isinstance(error, RaftlogError), f"looking at the log failed: {error!r}"
            self._tell(error)
            return
        self._found += scan.found
        self._room -= scan.weight
        self._commands += scan.commands
        self._position = scan.next
        self._go_on()

    def _tell(self, answer: Walked[T] | RaftlogError) -> None:
        if not self._ended:
            self._ended = True
            self._reply(answer)
