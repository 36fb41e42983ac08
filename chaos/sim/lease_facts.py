"""What the committed log says about queue-style groups, told to their invariants."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from chaos.check.attempts_counted import check_attempts, check_used_up
from chaos.check.filtered_leases import GroupWishes, check_matches, check_wanted
from chaos.check.held_by_flight import check_kept
from chaos.check.key_order import check_order
from chaos.check.lease_model import (
    ENDS,
    USED_UP,
    LeasedGroup,
    LeasedMessage,
    Past,
    Place,
    Poison,
    Standing,
)
from chaos.check.one_lease import check_again, check_lease, check_settled, check_stale
from chaos.check.one_place import (
    check_in_flight,
    check_letter,
    check_not_ended,
)
from chaos.check.settled_together import Ack
from chaos.sim.lease_answers import LeaseAnswers
from chaos.sim.lease_kinds import COMMANDS
from chaos.sim.limits import limit_of
from chaos.sim.wishes import wish_of
from raftlog.base.errors import StaleLease
from raftlog.broker import leasing
from raftlog.broker.dead_letters import DEAD_LETTER_HEAD_BYTES
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
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroup
from raftlog.broker.queue_seeks import QueueGroupSought, SeekQueueGroup
from raftlog.broker.queue_subscriptions import By, SubscribeQueueGroup
from raftlog.broker.refusals import CommandRefused
from raftlog.broker.topics import DEFAULT_RETENTION_MS, Topic
from raftlog.wire.batch import Batch, Record


class LeaseFacts(LeaseAnswers):
    """The queue-style groups of one run."""

    def __init__(self, marks: Counter[str], starts: Mapping[int, int], deleted: set[int]) -> None:
        super().__init__(marks, starts, deleted)
        self.records: Final[dict[Place, Record]] = {}
        """What lies where, in the queues that such groups read."""
        self.wishes: Final[dict[str, GroupWishes]] = {}
        """What each of the groups wants."""
        self._keys: Final[dict[tuple[int, bytes], list[int]]] = {}
        self._queues: Final[dict[str, tuple[int, ...]]] = {}
        """Of each topic."""
        self._term = self._now_ms = self._held_until_ms = 0
        self.shut: Final[set[int]] = set()
        """Queues that nobody may read at the moment."""
        self.on_acked: Callable[[str, Place], None] = lambda _group, _place: None
        """Told who acknowledges which message."""
        self.on_sought: Callable[[SeekQueueGroup, QueueGroupSought], None] = lambda *_: None
        """Told of each seek."""
        self.is_watching = False
        """Whether there are such groups in this run."""

    def passes(self, term: int, now_ms: int) -> None:
        """Take in that an entry begins."""
        self._now_ms = now_ms
        if term != self._term:
            if self._term:
                self._held_until_ms = now_ms + self._grace_ms()
            self._term = term
        if now_ms >= self._held_until_ms:
            self.expiry_ms = now_ms

    def _grace_ms(self) -> int:
        """Return how long a new leader lets no lease end: a whole one, within bounds."""
        held = (each.lease_ms for each in self.groups.values() if each.holds(self.expiry_ms))
        least_ms = limit_of(leasing, "LEASE_GRACE_MS_MIN")
        most_ms = limit_of(leasing, "LEASE_GRACE_MS_MAX")
        return min(max(least_ms, *held, 0), most_ms)

    def stored(self, queue: int, base_offset: int, data: bytes) -> None:
        """Take in the next records of a queue."""
        if not self.is_watching:
            return
        for number, record in enumerate(Batch(data).records()):
            self.records[queue, base_offset + number] = record
            if record.key is not None:
                self._keys.setdefault((queue, record.key), []).append(base_offset + number)

    # -- in the order of the log

    def carried_out(self, kind: int, body: memoryview, outcome: object) -> None:
        """Take in a command and what became of it.

        Raises:
            Violation: An invariant is broken.
        """
        command = COMMANDS[kind].decode(body)
        if isinstance(outcome, CommandRefused):
            if isinstance(outcome.error, StaleLease):
                self._refused(command)
            return
        match command, outcome:
            case ((OpenQueueGroup() | SubscribeQueueGroup()), QueueGroup()):
                self._opened(command, outcome)
            case ((ReceiveMessages() | ReceiveMatching()), Leased()):
                self._leased(command, outcome)
            case AckMessages(), Settled():
                self._settled(command, outcome, "acked", self._acked)
            case ReturnMessages(), Settled():
                self._settled(
                    command, outcome, "given back", lambda *of: self._returned(command, *of)
                )
            case ExtendLeases(), Settled():
                self._settled(
                    command, outcome, "extended", lambda *of: self._extended(command, *of)
                )
            case DecideBlocked(), Settled():
                self._decided(command)
            case SeekQueueGroup(), QueueGroupSought():
                self.on_sought(command, outcome)
                self._sought(command.group, outcome)
            case _:
                raise AssertionError(f"{command!r} has the outcome {outcome!r}")

    # -- acknowledged in transactions

    def holds(self, ack: Ack) -> bool | None:
        """Whether a message is held under its handle; None: that is not certain."""
        name, *place, handle = ack
        at: Place = (place[0], place[1])
        group = self.groups.get(name)
        message = None if group is None else group.messages.get(at)
        if not self.is_there(at):
            return None
        if group is None or message is None or message.handle != handle:
            return False
        if message.standing is not Standing.LEASED:
            return False
        return None if group.may_have_ended(message, self.expiry_ms) else True

    def settled_together(self, acks: Iterable[Ack]) -> None:
        """Take in that messages are finished by whoever held them, with what he made of them."""
        for name, queue, offset, _ in acks:
            message = self.groups[name].messages[queue, offset]
            message.standing = Standing.ACKED
            self._marks["messages acked in transactions"] += 1
            self.on_acked(name, (queue, offset))

    def acked_without_records(self, command: AckMessages) -> None:
        """Take in acknowledgements of a transaction that stores nothing: like any others.

        Raises:
            Violation: One of these messages is not its maker's.
        """
        self._settled(command, Settled(), "acked", self._acked)

    def refused_together(self, acks: Sequence[Ack]) -> None:
        """Take in that one of these was not held; if there is one only, it is that one."""
        if len(acks) != 1:
            return
        [(name, queue, offset, handle)] = acks
        group = self.groups.get(name)
        message = None if group is None else group.messages.get((queue, offset))
        if group is None or message is None or message.handle != handle:
            return
        if self.is_there((queue, offset)) and group.may_have_ended(message, self.expiry_ms):
            self._expire(group, message)

    # -- beside the commands

    def topic_changed(self, topic: Topic) -> None:
        """Take in that a topic has other queues, or that they can be read, or not."""
        queues = topic.queues
        self._queues[topic.name] = queues
        for group in self.groups.values():
            if topic.name in group.topics:
                self._begin(group)
        if topic.settings.readable:
            self.shut.difference_update(queues)
        else:
            self._marks["topics shut"] += 1
            self.shut.update(queues)

    def deleted(self, name: str) -> None:
        """Take in that a group is gone."""
        self._marks["queue groups deleted"] += self.groups.pop(name, None) is not None

    def letter(self, command: bytes) -> tuple[str, Place, bytes]:
        """Take in that a dead letter is stored; return whose, of what, and its batch."""
        group_number = int.from_bytes(command[:8], "little")
        place = int.from_bytes(command[8:12], "little"), int.from_bytes(command[12:20], "little")
        batch = command[DEAD_LETTER_HEAD_BYTES:]
        name, group = next(each for each in self.groups.items() if each[1].number == group_number)
        check_not_ended(group, place, "made a dead letter")
        check_in_flight(group, place, "made a dead letter")
        message = group.messages[place]
        if message.standing is not Standing.DEAD:
            check_used_up(group, place, self.expiry_ms)
        [record] = Batch(batch).records()
        check_letter(place, self.records[place].value, record.value)
        message.standing = Standing.LETTER
        self._marks["dead letters"] += 1
        return name, place, batch

    def moved(self, queue: int, start: int, retention_ms: int) -> None:
        """Take in that a queue is to begin at ``start``.

        Raises:
            Violation: Something before that is needed.
        """
        for group in self.groups.values():
            check_kept(
                *(group, queue, start),
                kept_ms=retention_ms or DEFAULT_RETENTION_MS,
                now_ms=self._now_ms,
                expiry_ms=self.expiry_ms,
            )

    def of_queue(self, queue: int) -> dict[str, int]:
        """Return up to where each group that has come to a queue has ended it."""
        found: dict[str, int] = {}
        for name, group in self.groups.items():
            offset = self._starts.get(queue, 0)
            passes = queue in group.begun and self.wishes[name].has_filter
            passes = passes or queue in group.past.jumped
            if passes or any(of == queue for of, _ in group.messages):
                while group.is_done((queue, offset), self.expiry_ms):
                    offset += 1
                found[name] = offset
        return found

    # -- inside

    def _opened(self, command: OpenQueueGroup | SubscribeQueueGroup, row: QueueGroup) -> None:
        known = self.groups.get(row.name)
        settings = row.settings
        if known is None or known.number != row.number:
            known = None
            # One of level 3: nobody has said a version.
            wanted = None if isinstance(command, OpenQueueGroup) else command.wanted
            wish, first = wish_of(wanted), int(not isinstance(command, OpenQueueGroup))
            self.wishes[row.name] = GroupWishes(self.records, {first: wish}, first)
        elif isinstance(command, SubscribeQueueGroup) and command.by == By.REPLACE:
            self._marks["queue groups that want something else"] += 1
            self.wishes[row.name].change(wish_of(command.wanted))
        group = self.groups[row.name] = LeasedGroup(
            *(row.number, settings.attempts_max, settings.retry_ms, Poison(settings.poison)),
            *(settings.fifo, row.topics, settings.lease_ms),
            *(
                (known.messages, known.begun, known.past)
                if known is not None
                else ({}, {}, Past())
            ),
            wants=self.wishes[row.name].wants,
        )
        self._begin(group)

    def _begin(self, group: LeasedGroup) -> None:
        for name in group.topics:
            for queue in self._queues.get(name, ()):
                group.begins(queue, self._starts.get(queue, 0))

    def _leased(self, command: ReceiveMessages | ReceiveMatching, outcome: Leased) -> None:
        group, handle = self.groups[command.group], command.handle
        wishes = self.wishes[command.group]
        if isinstance(command, ReceiveMatching):
            self._marks["matches told"] += bool(command.stretches)
            check_matches(command.group, wishes, command.version, command.stretches)
        self._check_again(group, handle, {(queue, at) for queue, at, _ in outcome.messages})
        for queue, offset, attempts in outcome.messages:
            place = (queue, offset)
            message = group.messages.get(place)
            if (
                message is not None
                and message.standing is Standing.LEASED
                and (message.handle, message.attempts) == (handle, attempts)
            ):
                self._marks["leases asked for again"] += 1
                continue
            check_not_ended(group, place, "leased")
            if message is None:
                check_wanted(command.group, wishes, place, fifo=group.fifo)
            check_lease(
                *(group, place, handle),
                is_there=self.is_there(place) and queue not in self.shut,
                now_ms=self._now_ms,
                expiry_ms=self.expiry_ms,
            )
            check_attempts(group, place, attempts)
            key = self.records[place].key
            if key is not None:
                earlier = self._keys[queue, key]
                start = self._starts.get(queue, 0)
                check_order(group, place, (at for at in earlier if at >= start), self.expiry_ms)
            self._marks["leases"] += 1
            self._marks["leases after others"] += attempts > 1
            group.messages[place] = LeasedMessage(
                *(Standing.LEASED, handle, attempts, outcome.due_ms),
                given_back_by=0 if message is None else message.given_back_by,
                verdict=-1 if message is None else message.verdict,
            )

    def _check_again(self, group: LeasedGroup, handle: int, got: set[Place]) -> None:
        mine = {
            place: group.may_have_ended(message, self.expiry_ms)
            for place, message in group.messages.items()
            if message.standing is Standing.LEASED and message.handle == handle
        }
        unclear = {place for place, ended in mine.items() if ended or not self.is_there(place)}
        held = mine.keys() - unclear
        if held:
            check_again(handle, held, got - unclear)

    def _refused(self, command: msgspec.Struct) -> None:
        if isinstance(command, AckMessages | ReturnMessages | ExtendLeases):
            group = self.groups.get(command.group)
            for handle, queue, offsets in command.names if group is not None else ():
                for offset in offsets:
                    is_ack = isinstance(command, AckMessages)
                    self._stale(command.group, handle, (queue, offset), is_ack=is_ack)

    def _stale(self, name: str, handle: int, place: Place, *, is_ack: bool) -> None:
        self._marks["stale leases"] += 1
        there = self.is_there(place)
        group = self.groups[name]
        check_stale(
            *(group, place, handle), is_there=there, expiry_ms=self.expiry_ms, is_ack=is_ack
        )
        message = group.messages.get(place)
        if (
            message is not None
            and message.handle == handle
            and group.may_have_ended(message, self.expiry_ms)
        ):
            self._expire(group, message)

    def _expire(self, group: LeasedGroup, message: LeasedMessage) -> None:
        """The lease has ended: that is certain now."""
        used_up = message.attempts >= group.attempts_max
        message.standing = USED_UP[group.poison] if used_up else Standing.WAITING

    def _settled(
        self,
        command: AckMessages | ReturnMessages | ExtendLeases,
        outcome: Settled,
        what: str,
        settle: Callable[[LeasedGroup, LeasedMessage], None],
    ) -> None:
        group = self.groups[command.group]
        for handle, queue, offsets in command.names:
            for offset in offsets:
                place = (queue, offset)
                if (*place, handle) in outcome.stale:
                    is_ack = isinstance(command, AckMessages)
                    self._stale(command.group, handle, place, is_ack=is_ack)
                    continue
                if not self.is_there(place):
                    self._settled_late(group, place)
                    continue
                if self._is_passed(group, place) and not isinstance(command, ExtendLeases):
                    self._marks["settled after it was passed over"] += 1
                    continue
                check_settled(
                    *(group, place, handle, what),
                    again=isinstance(command, ReturnMessages),
                    expiry_ms=self.expiry_ms,
                )
                message = group.messages[place]
                if group.poison is Poison.SKIP and group.may_be_used_up(message, self.expiry_ms):
                    message.standing = Standing.SKIPPED  # which is no news to its holder
                    message.unsure = True
                elif handle == message.handle == message.given_back_by and group.may_have_ended(
                    message, self.expiry_ms
                ):
                    self._expire(group, message)  # what was said is what was said before
                if message.standing is Standing.LEASED and message.handle == handle:
                    self._marks[f"messages {what}"] += 1
                    settle(group, message)
                    if group.messages[place].standing is Standing.ACKED:
                        self.on_acked(command.group, place)

    def _is_passed(self, group: LeasedGroup, place: Place) -> bool:
        """Whether a message that a seek took back was passed over since: then it is done."""
        is_sought = group.past.seeks > 0 and place not in group.messages
        return is_sought and group.is_done(place, self.expiry_ms)

    def _settled_late(self, group: LeasedGroup, place: Place) -> None:
        """Take in that a message was settled that is forgotten: perhaps before it was swept."""
        message = group.messages.get(place)
        if message is not None and message.standing not in ENDS:
            message.unsure = True

    def _acked(self, _group: LeasedGroup, message: LeasedMessage) -> None:
        message.standing = Standing.ACKED

    def _extended(
        self, command: ExtendLeases, _group: LeasedGroup, message: LeasedMessage
    ) -> None:
        message.due_ms = self._now_ms + command.lease_ms

    def _returned(
        self, command: ReturnMessages, group: LeasedGroup, message: LeasedMessage
    ) -> None:
        message.given_back_by = message.handle
        used_up = message.attempts >= group.attempts_max
        if command.how == GiveBack.UNTRIED:
            message.attempts -= 1
            used_up = False
        if command.how == GiveBack.REJECT or used_up:
            message.standing = USED_UP[group.poison]
            return
        delay_ms = command.delay_ms
        if delay_ms == SCHEDULE:
            delays = group.retry_ms
            untried = command.how == GiveBack.UNTRIED
            delay_ms = 0 if untried else delays[min(message.attempts, len(delays)) - 1]
        message.standing, message.due_ms = Standing.WAITING, self._now_ms + delay_ms

    def _sought(self, name: str, outcome: QueueGroupSought) -> None:
        group = self.groups[name]
        group.past.seeks += 1
        self._marks["queue groups sought"] += 1
        for each in outcome.queues:
            ended = group.sought(each.queue, each.before, each.after, self.expiry_ms)
            self._told.sought(group.number, each.queue, each.after)
            self.wishes[name].seeks(each.queue, each.after)
            group.past.dropped += each.leased + each.waiting + each.failed
            self._marks["ended messages sought again"] += ended
            self._marks["leases taken back by seeks"] += each.leased
            self._marks["messages kept by seeks"] += each.kept

    def _decided(self, command: DecideBlocked) -> None:
        group = self.groups[command.group]
        place = (command.queue, command.offset)
        message = group.messages[place]
        is_blocked = message.standing is Standing.BLOCKED or group.may_be_used_up(
            message, self.expiry_ms
        )
        if not is_blocked and message.verdict == command.verdict:
            return  # asked again
        if message.standing is not Standing.BLOCKED:
            check_used_up(group, place, self.expiry_ms)
        self._marks["blocked messages decided"] += 1
        message.verdict = command.verdict
        match command.verdict:
            case Verdict.RETRY:
                message.standing, message.attempts = Standing.WAITING, 0
                message.due_ms = self._now_ms
            case Verdict.SKIP:
                message.standing = Standing.SKIPPED
            case _:
                message.standing = Standing.DEAD
