"""First leases: of what a group has never leased, from its cursors on.

What the machine does not read it is told (``lease_commands``): keys, for a group in order by
key; which records match, for one with a filter. What does not match is passed over::

    filter: paid      3 paid   4 open   5 open   6 paid   7 open | 8 not told
    cursor at 3       leased   ------ passed ---  leased  passed   cursor at 8

A message that was passed over has no row: it is before the cursor and not in flight, and so it is
finished for the group, as if it had been acknowledged.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from raftlog.broker.flights import Flights
from raftlog.broker.lease_commands import ReceiveMatching, ReceiveMessages, Stretch, keys_of
from raftlog.broker.queue_groups import QueueGroup, QueueGroups
from raftlog.broker.queue_subscriptions import QueueSubscriptions
from raftlog.broker.queues import Queue
from raftlog.broker.unread import Unread

Leases = list[tuple[int, int, int]]
"""Queue, offset, attempts."""


class Asked(NamedTuple):
    """What one command asks for still."""

    handle: int
    due_ms: int
    left: int
    """Messages to be leased."""
    room: int
    """Messages that may be in flight beside those that are."""
    keys: Mapping[int, Mapping[int, int]] | None
    """By queue and offset; None: they do not count."""


class FirstLeases:
    """Leases what was never leased."""

    def __init__(
        self,
        groups: QueueGroups,
        subscriptions: QueueSubscriptions,
        flights: Flights,
        unread: Unread,
    ) -> None:
        self._groups: Final = groups
        self._subscriptions: Final = subscriptions
        self._flights: Final = flights
        self._unread: Final = unread

    def lease(
        self,
        group: QueueGroup,
        command: ReceiveMessages | ReceiveMatching,
        due_ms: int,
        room: int,
        leased: Leases,
    ) -> None:
        """Lease from the cursors on, into ``leased``, with no more than ``room`` more in flight.

        For a group with a filter nothing, unless it is told what matches that very filter.
        """
        row = self._subscriptions.of(group)
        stretches: Mapping[int, Stretch] | None = None
        if row.wanted:
            if not isinstance(command, ReceiveMatching) or command.version != row.version:
                return
            stretches = {stretch[0]: stretch for stretch in command.stretches}
        self._groups.table.touch(group.name)
        group.turn += 1
        keys = keys_of(command.keys) if group.settings.fifo else None
        for queue, at in list(self._unread.queues(group)):
            left = command.count - len(leased)
            asked = Asked(command.handle, due_ms, left, room, keys)
            if stretches is None:
                room -= self._lease_all(group, queue, at, asked, leased)
            elif queue.number in stretches:
                room -= self._lease_matching(
                    group, queue, at, stretches[queue.number], asked, leased
                )
            if room <= 0 or len(leased) >= command.count:
                return

    def _lease_all(
        self, group: QueueGroup, queue: Queue, at: int, asked: Asked, leased: Leases
    ) -> int:
        """Lease from one queue; return how many more are in flight."""
        offset, left = at, asked.left
        end = min(queue.end_offset, at + asked.room)
        while offset < end and left:
            if not self._can_begin(queue, offset, asked):
                break
            left -= self._begin(group, queue, offset, asked, leased)
            offset += 1
        if offset != at:
            self._unread.move(group, queue, at, offset)
        return offset - at

    def _lease_matching(
        self, group: QueueGroup, queue: Queue, at: int, told: Stretch, asked: Asked, leased: Leases
    ) -> int:
        """Lease what matches, as far as that is told, and pass over the rest; return likewise."""
        _, first, end, matching = told
        to = min(end, queue.end_offset)
        if not first <= at < to:
            return 0  # somebody else was faster, or retention
        begun, left = 0, asked.left
        for offset in matching:
            if not at <= offset < to:
                continue
            if begun == asked.room or not left or not self._can_begin(queue, offset, asked):
                to = offset
                break
            left -= self._begin(group, queue, offset, asked, leased)
            begun += 1
        if to != at:
            self._unread.move(group, queue, at, to)
            self._subscriptions.has_passed(group, to - at - begun)
        return begun

    @staticmethod
    def _can_begin(queue: Queue, offset: int, asked: Asked) -> bool:
        return asked.keys is None or offset in asked.keys.get(queue.number, ())

    def _begin(
        self, group: QueueGroup, queue: Queue, offset: int, asked: Asked, leased: Leases
    ) -> bool:
        """Lease one message, or let it stand in its key's line; return whether it is leased."""
        hash_ = 0 if asked.keys is None else asked.keys[queue.number][offset]
        key = (group.number, queue.number, offset)
        begins = self._flights.begin(key, asked.handle, asked.due_ms, hash_)
        if begins:
            leased.append((queue.number, offset, 1))
        return begins
