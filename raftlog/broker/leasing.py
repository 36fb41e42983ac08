"""Leasing: what a group's commands do to its messages in flight.

::

    receive  --> what waits and may be leased again, longest due first
             --> then what was never leased, queue after queue (``first_leases``)
    ack      --> finished            give back --> waits, or its attempts are used up
    end of a lease (timetable)   --> as given back, without a wait

An attempt counts when it begins, so a handler that takes its process down with it
can't be tried for ever. A message whose attempts are used up becomes what the
group's policy says; until its dead letter is stored it is in flight.

What retention has passed, or whose topic or group went, is nobody's: it is not
leased any more, and its row is swept away, a few with each entry.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from raftlog.base.errors import GroupInUse, StaleLease, Throttled
from raftlog.base.ids import Offset
from raftlog.base.limits import LEASE_GRACE_MS_MAX, LEASE_GRACE_MS_MIN, MESSAGES_IN_FLIGHT_MAX
from raftlog.broker.finishers import NOBODY, Finishers
from raftlog.broker.first_leases import FirstLeases
from raftlog.broker.flights import BLOCKED, DEAD, WAITING, Flight, Flights
from raftlog.broker.held import Held, Settlement
from raftlog.broker.holding import Holding
from raftlog.broker.lease_commands import (
    SCHEDULE,
    AckMessages,
    DecideBlocked,
    ExtendLeases,
    GiveBack,
    Leased,
    ReceiveMatching,
    ReceiveMessages,
    ReturnMessages,
    Settled,
    Verdict,
)
from raftlog.broker.lease_news import LeaseNews
from raftlog.broker.opening import Opening
from raftlog.broker.queue_groups import Poison, QueueGroup, QueueGroups
from raftlog.broker.queue_seeks import QueueGroupSought, QueueSeeks, SeekQueueGroup
from raftlog.broker.queue_subscriptions import QueueSubscriptions
from raftlog.broker.queues import Queues
from raftlog.broker.sweeping import Sweeping
from raftlog.broker.timetable import NEVER_MS, Timetable
from raftlog.broker.topics import Topics
from raftlog.broker.unread import Unread

EXPIRED: Final = "the lease ended"


class Leasing:
    """The queue-style groups of one shard at work. What falls due: ends of leases, and sweeping.

    Attributes:
        groups: What holds for each.
        flights: What is in flight.
        unread: What was never leased.
        holding: What retention may not take yet.
        finishers: Who finished what somebody else had, too.
        subscriptions: Which records each group reads.
        opening: Makes groups, and changes what they read.
        seeks: Where a group would go on.
        news: For the leader's service.
        due_ms: When the next lease ends, or earlier.
        held_until_ms: Before this no lease ends: there is a new leader.
    """

    def __init__(self, topics: Topics, queues: Queues, timetable: Timetable) -> None:
        self.groups: Final = QueueGroups()
        self.flights: Final = Flights(timetable, queues.is_shut)
        self.unread: Final = Unread(self.groups, topics, queues)
        self.due_ms = NEVER_MS
        self.held_until_ms = 0
        self._topics = topics
        self._queues = queues
        self._timetable = timetable
        self._sweeping: Final = Sweeping(self.groups, self.flights, queues)
        self.holding: Final = Holding(self.groups, self.flights)
        self.finishers: Final = Finishers(timetable)
        self.subscriptions: Final = QueueSubscriptions()
        self.opening: Final = Opening(
            self.groups, self.subscriptions, self.flights, topics, queues
        )
        self.seeks: Final = QueueSeeks(
            self.groups, self.unread, self.flights, self.finishers, queues
        )
        self._first: Final = FirstLeases(
            self.groups, self.subscriptions, self.flights, self.unread
        )
        self._held: Final = Held(self.groups, self.flights, self.finishers)
        self.news: Final = LeaseNews()

    def loaded(self, held_until_ms: int) -> None:
        """Begin anew with the rows of a snapshot."""
        self.held_until_ms = held_until_ms
        self._sweeping.loaded()
        for name in self.groups.table.rows:
            self.news.stir(name)
        self.due_ms = 0

    # -- groups

    def check_delete(self, name: str) -> None:
        """Check that nobody works for a group.

        Raises:
            GroupNotFound: There is none.
            GroupInUse: Messages are leased, or are to become dead letters.
        """
        tally = self.flights.tally(self.groups.find(name).number)
        if tally.leased or tally.dead:
            raise GroupInUse(
                f"group {name!r} has {tally.leased} messages leased, and {tally.dead} on their "
                "way to its dead letters"
            )

    def delete(self, name: str) -> None:
        """Forget a group, its cursors and what waits for it."""
        group, queues = self.groups.delete(name)
        self.subscriptions.forget(group)
        self._sweep((group.number, queue) for queue in queues)

    def topic_altered(self, topic: str, numbers: Sequence[int], *, is_readable: bool) -> None:
        """A topic has these queues; they can be read, or not: then nobody gets what waits there.

        Groups begin to read those that are new.
        """
        self.groups.begin_new(topic, [self._queues.find(number) for number in numbers])
        if is_readable:
            for number in numbers:
                self.flights.permitted(number)
            for name in self.groups.of_topic(topic):
                self.news.stir(name)

    def forget_queue(self, queue: int) -> None:
        """Forget where groups are in a queue that was closed."""
        self.flights.permitted(queue)
        self._sweep((group, queue) for group in self.groups.readers(queue))
        self.groups.forget_queue(queue)

    def start_moved(self, queue: int) -> None:
        """Retention has passed some of a queue."""
        self._sweep((group, queue) for group in self.groups.readers(queue))

    def finished_through(self, topic: str, queue: int) -> Offset | None:
        """Return up to where all groups of a queue have finished; None: no group reads it."""
        if self.groups.are_to_begin(topic, queue):
            return Offset(0)
        through: int | None = None
        for number in self.groups.readers(queue):
            row = self.flights.oldest(number, queue)
            if row is None and not self.groups.reads(number, topic):
                continue  # it read the topic once
            at = self.groups.cursors.rows[number, queue].next if row is None else row.offset
            through = at if through is None else min(through, at)
        return None if through is None else Offset(through)

    # -- leases

    def receive(self, command: ReceiveMessages | ReceiveMatching, now_ms: int) -> Leased:
        """Lease messages.

        Raises:
            GroupNotFound: There is no such group.
            Throttled: There are messages, and too many are in flight.
        """
        group = self.groups.find(command.group)
        flights = self.flights
        number, handle = group.number, command.handle
        held = flights.granted(number, handle)
        if held:  # asked again, since the answer was lost
            rows = [flights.table.rows[key] for key in held]
            return Leased(tuple(map(_message, rows)), min(row.due_ms for row in rows))
        due_ms = now_ms + (command.lease_ms or group.settings.lease_ms)
        leased: list[tuple[int, int, int]] = []
        while len(leased) < command.count:
            row = flights.take_waiting(number, now_ms)
            if row is None:
                break
            if not self._sweeping.is_nobodys(row):
                flights.lease(row, handle, due_ms)
                leased.append(_message(row))
        if len(leased) < command.count:
            room = self._room(group)
            if room > 0:
                self._first.lease(group, command, due_ms, room, leased)
            elif not leased and (hindrance := self.hindrance(group)) is not None:
                raise hindrance
        if leased:
            flights.note_end(number, handle, due_ms)
            self.due_ms = min(self.due_ms, due_ms)
            self.news.lease(group.name, handle)
        return Leased(tuple(leased), due_ms)

    def _room(self, group: QueueGroup) -> int:
        """Return how many more of a group may be in flight."""
        return min(
            group.settings.in_flight_max - self.flights.tally(group.number).rows,
            MESSAGES_IN_FLIGHT_MAX - len(self.flights.table),
        )

    def ready(self, group: QueueGroup, now_ms: int, count: int) -> int:
        """Return how many messages whoever asks now might get, at most about ``count``.

        It is one of those that wait, however many do: they are in no order that counts.
        """
        found = 1 if self.flights.next_wait_ms(group.number) <= now_ms else 0
        if found < count and self.has_room(group):
            for queue, at in self.unread.queues(group):
                found += queue.end_offset - at
                if found >= count:
                    break
        return found

    def has_room(self, group: QueueGroup) -> bool:
        """Whether one more message may be in flight."""
        return self._room(group) > 0

    def too_many(self, group: QueueGroup) -> Throttled:
        """Return why a group with unread messages gets none."""
        tally = self.flights.tally(group.number)
        return Throttled(
            f"group {group.name!r} has {tally.rows} messages in flight ({tally.leased} leased, "
            f"{tally.blocked} blocked, {tally.dead} to be dead letters); "
            f"{group.settings.in_flight_max} may be, and {MESSAGES_IN_FLIGHT_MAX} of all groups",
            1.0,
        )

    def hindrance(self, group: QueueGroup) -> Throttled | None:
        """Return why a group with unread messages gets none of them; None: it may."""
        if self.has_room(group) or next(self.unread.queues(group), None) is None:
            return None
        return self.too_many(group)

    def ack(self, command: AckMessages, now_ms: int) -> Settled:
        """Finish messages.

        Raises:
            GroupNotFound: There is no such group.
            StaleLease: None of them is held under its handle.
        """
        group = self.groups.find(command.group)
        found, stale = self._held.find(group, command.names, Settlement.ACK)
        for row in found:
            self._finish(row, now_ms, row.handle)
        self._stir(group)
        return Settled(stale)

    def check_ack(self, command: AckMessages, *, once: bool) -> tuple[tuple[int, int, int], ...]:
        """Return (queue, offset, handle) of what is stale; do nothing. Raises as ``ack``.

        With ``once`` so is what is finished already, by whomever.
        """
        group = self.groups.find(command.group)
        wanted = Settlement.ACK_ONCE if once else Settlement.ACK
        return self._held.find(group, command.names, wanted)[1]

    def extend(self, command: ExtendLeases, now_ms: int) -> Settled:
        """Let leases end later. Raises as ``ack``."""
        group = self.groups.find(command.group)
        found, stale = self._held.find(group, command.names, Settlement.EXTEND)
        due_ms = now_ms + command.lease_ms
        for row in found:
            self.flights.extend(row, due_ms)
        for handle in {row.handle: None for row in found}:
            self.flights.note_end(group.number, handle, due_ms)
        self.due_ms = min(self.due_ms, self.flights.next_end_ms)
        return Settled(stale)

    def give_back(self, command: ReturnMessages, now_ms: int) -> Settled:
        """End leases without finishing the messages. Raises as ``ack``."""
        group = self.groups.find(command.group)
        found, stale = self._held.find(group, command.names, Settlement.RETURN)
        for row in found:
            if command.how == GiveBack.UNTRIED:
                self.flights.table.touch((row.group, row.queue, row.offset))
                row.attempts -= 1
            elif command.how == GiveBack.REJECT or row.attempts >= group.settings.attempts_max:
                self._use_up(group, row, command.reason, now_ms, row.handle)
                continue
            delay_ms = command.delay_ms
            if delay_ms == SCHEDULE:
                untried = command.how == GiveBack.UNTRIED
                delay_ms = 0 if untried else group.retry_ms(row.attempts)
            due_ms = now_ms + delay_ms
            self.flights.put_back(row, WAITING, due_ms, command.reason, row.handle)
        self._stir(group)
        return Settled(stale)

    def decide(self, command: DecideBlocked, now_ms: int) -> Settled:
        """Let a blocked message go on.

        Raises:
            GroupNotFound: There is no such group.
            StaleLease: The message is not blocked.
        """
        group = self.groups.find(command.group)
        key = (group.number, command.queue, command.offset)
        row = self.flights.get(key)
        decided = BLOCKED - command.verdict
        if row is None or row.handle != BLOCKED:
            if self.finishers.was(key, decided) if row is None else row.given_back_by == decided:
                return Settled()  # asked again
            raise StaleLease(
                f"message {command.offset} of queue {command.queue} is not blocked in group "
                f"{group.name!r}"
            )
        match command.verdict:
            case Verdict.RETRY:
                self.flights.table.touch((row.group, row.queue, row.offset))
                row.attempts = 0
                self.flights.put_back(row, WAITING, now_ms, row.reason, decided)
            case Verdict.SKIP:
                self.flights.table.touch(key)
                row.given_back_by = decided
                self._skip(group, row, now_ms)
            case _:
                self.flights.put_back(row, DEAD, now_ms, row.reason, decided)
        self._stir(group)
        return Settled()

    def dead_row(self, group: int, queue: int, offset: int) -> tuple[QueueGroup, Flight]:
        """Return a message that is to become a dead letter, and whose.

        Raises:
            StaleLease: It is not, or not any more.
        """
        found = self.groups.numbered(group)
        row = self.flights.get((group, queue, offset))
        if found is None or row is None or row.handle != DEAD or self._sweeping.is_nobodys(row):
            raise StaleLease(f"message {offset} of queue {queue} is not to become a dead letter")
        return found, row

    def bury(self, group: QueueGroup, row: Flight, now_ms: int) -> None:
        """The dead letter is stored: the message is finished."""
        self._finish(row, now_ms)
        self.groups.table.touch(group.name)
        group.dead_letters += 1
        self._stir(group)

    def seek(self, command: SeekQueueGroup, now_ms: int) -> QueueGroupSought:
        """Set where a group goes on. Raises as ``QueueSeeks.plan``."""
        sought = self.seeks.seek(command, now_ms)
        self._note_end()
        self._stir(self.groups.find(command.group))
        return sought

    # -- what falls due

    def hold(self, now_ms: int) -> None:
        """Let no lease end for a while: its holder had no leader to tell that it works on.

        For a whole lease of the group that has the longest ones, but not so long that the
        messages of who died stay away: who has longer ones kept his a part of that before.
        """
        longest_ms = max(
            (
                group.settings.lease_ms
                for group in self.groups.table.rows.values()
                if self.flights.tally(group.number).leased
            ),
            default=0,
        )
        grace_ms = min(max(longest_ms, LEASE_GRACE_MS_MIN), LEASE_GRACE_MS_MAX)
        self.held_until_ms = now_ms + grace_ms
        self._note_end()

    def _note_end(self) -> None:
        end_ms = self.flights.next_end_ms
        self.due_ms = end_ms if end_ms == NEVER_MS else max(end_ms, self.held_until_ms)
        if self._sweeping.has_more:  # that goes on, whatever is held
            self.due_ms = 0

    def do_next(self, due_ms: int, now_ms: int) -> bool:
        """Sweep one row away that is nobody's, or end one lease; return whether there was one."""
        if self._sweeping.has_more:
            row = self._sweeping.sweep_one(now_ms)
            if row is not None and (group := self.groups.numbered(row.group)) is not None:
                self.finishers.note(row, NOBODY, now_ms)
                self._stir(group)
            done = row is not None
        else:
            done = due_ms >= self.held_until_ms and self._end_one(due_ms, now_ms)
        self._note_end()
        return done

    def _end_one(self, due_ms: int, now_ms: int) -> bool:
        row = self.flights.next_ended(due_ms)
        if row is None:
            return False
        group = self.groups.numbered(row.group)
        if group is None or self._sweeping.is_nobodys(row):
            self._finish(row, now_ms)
        elif row.attempts >= group.settings.attempts_max:
            self._use_up(group, row, EXPIRED, now_ms)
        else:
            self.flights.put_back(row, WAITING, row.due_ms, EXPIRED)
        if group is not None:
            self._stir(group)
        return True

    def _sweep(self, pairs: Iterable[tuple[int, int]]) -> None:
        self._sweeping.add(pairs)
        if self._sweeping.has_more:
            self.due_ms = 0
            self._timetable.note(0)

    # -- inside

    def _use_up(
        self, group: QueueGroup, row: Flight, reason: str, now_ms: int, handle: int = 0
    ) -> None:
        """The attempts of a message are used up, said by whoever held it under ``handle``."""
        match group.settings.poison:
            case Poison.SKIP:
                self._skip(group, row, now_ms)
            case Poison.BLOCK:
                self.flights.put_back(row, BLOCKED, now_ms, reason, handle)
            case _:
                self.flights.put_back(row, DEAD, now_ms, reason, handle)

    def _skip(self, group: QueueGroup, row: Flight, now_ms: int) -> None:
        self._finish(row, now_ms)
        self.groups.table.touch(group.name)
        group.skipped += 1

    def _finish(self, row: Flight, now_ms: int, handle: int = NOBODY) -> None:
        self.finishers.note(row, handle, now_ms)
        self.flights.finish(row, now_ms)

    def _stir(self, group: QueueGroup) -> None:
        self.news.stir(group.name)


def _message(row: Flight) -> tuple[int, int, int]:
    return row.queue, row.offset, row.attempts
