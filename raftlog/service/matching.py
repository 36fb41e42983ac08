"""Which messages match, for groups with a filter: the leader looks, the machine is told.

The machine looks into no payload (ruling 11), and headers lie there. So the leader looks at what
comes next for a group, and the command that leases says what it has found: the stretches that
it has looked at, and which messages in them match. What is told is true for ever of that version
of the subscription, since batches do not change.

::

    cursor 3 [ 3 . . 6 . . . | 10 ...          looked up to 10: 3 and 6 match
    told: from 3 to 6, 3           3 is leased, 4 and 5 are passed over, 6 is remembered

Where nothing matches there is nothing to lease, and the cursor is moved by a command all the
same: after a piece of work, or a second, or if somebody is told that there is nothing.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from raftlog.base.errors import (
    BadBatch,
    CodecUnavailable,
    NotPermitted,
    OffsetOutOfRange,
    RaftlogError,
    WrongQueue,
)
from raftlog.base.ids import Offset
from raftlog.base.limits import KEYS_PER_RECEIVE_MAX, MIB
from raftlog.broker.lease_commands import KeyRuns, Stretch, Stretches
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queue_groups import QueueGroup
from raftlog.broker.queue_subscriptions import QueueSubscription
from raftlog.node.ports import Reader, Scheduler
from raftlog.service.fifo_keys import LOOKED_AHEAD, LOOKED_AHEAD_MIN, READ_BYTES, FifoKeys, open_
from raftlog.service.filtering import FilteredResult, FilterService, LookedAt
from raftlog.service.read import ReadRequest
from raftlog.wire.filters import selector_of

LOOK_BYTES_MAX: Final = 1 * MIB
"""Stored bytes that are looked at for one command, in each queue."""
PASS_NS: Final = 1_000_000_000
"""What was looked at in vain is passed over by a command after so long."""
KNOWN_MAX: Final = 256
"""Queues of groups of which is remembered what was found."""


class Told(msgspec.Struct, frozen=True):
    """What the machine is told with a command that leases."""

    keys: KeyRuns = ()
    version: int = 0
    stretches: Stretches | None = None
    """None: the group has no filter."""


OnTold = Callable[[Told | RaftlogError | None], None]
"""None: nothing matches, and it is not worth a command to say so."""


class _Found(msgspec.Struct):
    """What was found in a queue for a group."""

    version: int
    fifo: bool
    first: int
    to: int
    """It was looked at everything from ``first`` up to here."""
    since_ns: int
    matches: list[tuple[int, int]]
    """Offset and hash of the key (0: none, or it does not matter), in order."""


class Matching:
    """Looks for one shard."""

    def __init__(
        self, filters: FilterService, reader: Reader, keys: FifoKeys, scheduler: Scheduler
    ) -> None:
        self.filters: Final = filters
        self.reader: Final = reader
        self.keys: Final = keys
        self.scheduler: Final = scheduler
        self.machine: Final[BrokerMachine] = filters.read_service.machine
        self._known: Final[OrderedDict[tuple[int, int], _Found]] = OrderedDict()

    def tell(self, group: QueueGroup, count: int, done: OnTold, *, passes: bool) -> None:
        """Find what matches next for a group; ``done`` is called once, perhaps at once.

        ``passes``: what is looked at in vain is worth a command. An error if nothing was found
        and a batch can't be looked into here.
        """
        subscription = self.machine.leasing.subscriptions.of(group)
        _Looking(self, group, subscription, count, done, passes=passes).go_on()

    def leadership_lost(self) -> None:
        """Somebody else leads, and looks."""
        self._known.clear()

    def known(self, group: QueueGroup, version: int, queue: int, at: int) -> _Found:
        """Return what was found in a queue from ``at`` on; to be added to."""
        key = (group.number, queue)
        fifo = group.settings.fifo
        found = self._known.get(key)
        if (
            found is None
            or (found.version, found.fifo) != (version, fifo)
            or not found.first <= at <= found.to
        ):
            found = self._known[key] = _Found(version, fifo, at, at, 0, [])
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        found.matches = [each for each in found.matches if each[0] >= at]
        if found.to == at:
            found.since_ns = self.scheduler.now_ns()
        found.first = at
        return found


class _Looking:
    """What one command is told, under way: one look at each queue, until it is enough."""

    def __init__(
        self,
        matching: Matching,
        group: QueueGroup,
        subscription: QueueSubscription,
        count: int,
        done: OnTold,
        *,
        passes: bool,
    ) -> None:
        self._matching = matching
        self._group = group
        self._version = subscription.version
        self._select = selector_of(subscription.wanted)
        self._done = done
        self._passes = passes
        ahead = max(count * LOOKED_AHEAD, LOOKED_AHEAD_MIN) if group.settings.fifo else count
        self._room = min(ahead, KEYS_PER_RECEIVE_MAX)
        unread = matching.machine.leasing.unread.queues(group)
        self._places: Iterator[tuple[int, int]] = iter([(row.number, at) for row, at in unread])
        self._at = self._queue = 0
        self._found: _Found | None = None
        self._stretches: list[Stretch] = []
        self._keys: list[tuple[int, int, tuple[int, ...]]] = []
        self._error: RaftlogError | None = None
        self._is_answered = self._waits = False

    def go_on(self) -> None:
        """Look at queue after queue; a loop, since reads may be answered at once."""
        while self._room > 0:
            place = next(self._places, None)
            if place is None:
                break
            self._queue, self._at = place
            self._is_answered = self._waits = False
            self._look()
            if not self._is_answered:
                self._waits = True
                return
        self._end()

    def _look(self) -> None:
        queue, matching = self._queue, self._matching
        found = matching.known(self._group, self._version, queue, self._at)
        self._found = found
        row = matching.machine.queues.get(queue)
        if row is None or found.to >= row.end_offset or len(found.matches) >= self._room:
            self._take()
            return
        request = ReadRequest(queue, Offset(found.to), READ_BYTES)
        look_at = LookedAt(bytes_max=LOOK_BYTES_MAX)
        matching.filters.look(request, self._select, self._on_found, look_at)

    def _on_found(self, result: FilteredResult | RaftlogError) -> None:
        assert self._found is not None, "an answer without a question"
        if isinstance(result, RaftlogError):
            if not isinstance(result, OffsetOutOfRange | WrongQueue | NotPermitted):
                self._error = result
                if isinstance(result, BadBatch | CodecUnavailable):
                    at = self._found.to
                    self._matching.keys.untold(self._queue, at, at + 1, result)
            self._take()
            return
        bases, batches = result.read.base_offsets, result.read.batches
        if not self._group.settings.fifo:
            self._add(result, dict.fromkeys(bases, ()))
            return
        unknown = list(zip(bases, batches, strict=True))
        self._matching.reader.submit(
            lambda: open_(unknown), lambda hashes, _: self._add(result, hashes or {})
        )

    def _add(
        self, result: FilteredResult, hashes: Mapping[int, tuple[int, ...] | RaftlogError]
    ) -> None:
        """Remember what was found, and take what is asked for; ``hashes`` by base offset."""
        found = self._found
        assert found is not None, "an answer without a question"
        to, new = int(result.next_offset), list[tuple[int, int]]()
        for base, numbers in zip(result.read.base_offsets, result.matching, strict=True):
            of_keys = hashes.get(base)
            if not isinstance(of_keys, tuple):
                self._error, to = of_keys, base
                if of_keys is not None:
                    self._matching.keys.untold(self._queue, base, base + 1, of_keys)
                break
            new += [(base + number, of_keys[number] if of_keys else 0) for number in numbers]
        # Two may look at once, for a request and for the same one asked again.
        found.matches += [each for each in new if found.to <= each[0] < to]
        if len(found.matches) > KEYS_PER_RECEIVE_MAX:
            to = found.matches[KEYS_PER_RECEIVE_MAX][0]
            del found.matches[KEYS_PER_RECEIVE_MAX:]
        found.to = max(found.to, to)
        self._take()

    def _take(self) -> None:
        """Take what is known of this queue into what is told."""
        found, queue, room = self._found, self._queue, self._room
        assert found is not None, "nothing was looked at"
        taken, left = found.matches[:room], found.matches[room:]
        end = left[0][0] if left else found.to
        if end > self._at:
            self._stretches.append((queue, self._at, end, tuple(at for at, _ in taken)))
            if self._group.settings.fifo:
                self._keys += [(queue, at, (hash_,)) for at, hash_ in taken]
        self._room -= len(taken)
        row = self._matching.machine.queues.get(queue)
        if end > self._at and not taken and row is not None:
            is_piece = found.to < row.end_offset
            age_ns = self._matching.scheduler.now_ns() - found.since_ns
            self._passes = self._passes or is_piece or age_ns >= PASS_NS
        self._is_answered = True
        if self._waits:
            self.go_on()

    def _end(self) -> None:
        matches = any(offsets for *_, offsets in self._stretches)
        if matches or (self._stretches and self._passes):
            self._done(Told(tuple(self._keys), self._version, tuple(self._stretches)))
        elif self._error is not None:
            self._done(self._error)
        else:
            self._done(None)
