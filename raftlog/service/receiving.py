"""Receiving for queue-style groups: long polls that lease messages when there are some.

::

    receive --> messages are there   --> propose ReceiveMessages --> leased --> bodies --> answer
            --> none                 --> stand in the group's line; apply wakes it

Who came first gets the next message, and no more are woken than there are messages for: each
lease is a commit. A request that is asked again (its answer was lost, its connection broke)
finds its messages under its handle, also while the first one is under way, whose messages are
its own from then on. What was leased for somebody who has gone is given back, as nobody tried it.

With order by key the leader reads the keys of what comes next and tells them to the machine,
which never looks into a payload; with a filter, what matches (``matching``). Then one request of a
group is proposed at a time.
"""

from typing import Final

from raftlog.base.errors import BadRequest, GroupNotFound, NotLeader, RaftlogError, Throttled
from raftlog.base.ids import Index
from raftlog.base.limits import FETCH_WAIT_NS_MAX, MESSAGES_PER_RECEIVE_MAX, PENDING_READS_MAX
from raftlog.broker.codec import write_command
from raftlog.broker.lease_commands import (
    SCHEDULE,
    GiveBack,
    KeyRuns,
    Leased,
    ReceiveMatching,
    ReceiveMessages,
    ReturnMessages,
)
from raftlog.broker.queue_groups import QueueGroup
from raftlog.broker.timetable import NEVER_MS
from raftlog.node.ports import Reader, Timer
from raftlog.service.fifo_keys import FifoKeys
from raftlog.service.filtering import FilterService
from raftlog.service.leased_bodies import Gathered, LeasedBodies, Message, messages_of
from raftlog.service.log_time import LogTime
from raftlog.service.matching import PASS_NS, Matching, Told
from raftlog.service.proposing import Reply, propose, propose_unheard
from raftlog.service.read import ReadService
from raftlog.service.receive_lines import PAUSE_NS, Line, Receive, Received

DAMAGED_MS: Final = 30_000
"""What is damaged on the leader is looked for again after so long; others do not wait for it."""


class ReceiveService:
    """Receives for the queue-style groups of one shard, while this node leads it."""

    def __init__(self, read: ReadService, reader: Reader, filters: FilterService) -> None:
        self.replica: Final = read.replica
        self.machine: Final = read.machine
        self.scheduler: Final = read.scheduler
        self.bodies: Final = LeasedBodies(read, reader)
        self._keys: Final = FifoKeys(read, reader)
        self._matching: Final = Matching(filters, reader, self._keys, read.scheduler)
        self._time: Final = LogTime(read.machine, read.scheduler)
        self._lines: Final[dict[str, Line[Receiving]]] = {}
        self._by_handle: Final[dict[tuple[str, int], Receiving]] = {}
        self.waiting = 0
        self.receives = 0
        self.messages = 0
        read.on_touched = self._touched
        read.replica.on_applied(self._applied)
        read.machine.leasing.news.is_heard = True

    def receive(self, request: Receive, reply: Reply[Received]) -> "Receiving":
        """Start one; ``reply`` may be called before this returns.

        ``GroupNotFound``, ``BadRequest`` (count, handle, length of the lease), ``Throttled``
        (too many messages are in flight, or too many wait), ``NotLeader``.
        """
        self.receives += 1
        receiving = Receiving(self, request, reply)
        self._supersede(receiving)
        try:
            write_command(receiving.command(Told()))
        except BadRequest as error:
            receiving.end(error)
            return receiving
        if not self.replica.leads:
            receiving.end(NotLeader(self.replica.leader))
        elif self.waiting >= PENDING_READS_MAX:
            receiving.end(Throttled(f"{self.waiting} requests wait for messages already", 1.0))
        elif self.machine.leasing.groups.get(request.group) is None:
            self._make_sure(receiving)
        else:
            self._begin(receiving)
        return receiving

    def leadership_lost(self) -> None:
        """Somebody else leads, or nobody: who waits asks there."""
        for line in list(self._lines.values()):
            while line.waiting:
                line.waiting[0].end(NotLeader(self.replica.leader))
        self._keys.leadership_lost()
        self._matching.leadership_lost()

    @property
    def alarm(self) -> str | None:
        """What somebody has to look at: groups that go no further; None: nothing."""
        return self._keys.alarm

    # -- for ``Receiving``

    def is_waiting(self, name: str) -> bool:
        """Whether a message that was leased before can be leased again now."""
        leasing = self.machine.leasing
        group = leasing.groups.get(name)
        return group is not None and leasing.flights.next_wait_ms(group.number) <= self.now_ms()

    def now_ms(self) -> int:
        """Return about what log time it is."""
        self._time.note()
        return self._time.now_ms()

    def forget(self, receiving: "Receiving") -> None:
        """It has ended; or, if nobody waited for it any more, what it had under way has."""
        if not receiving.is_under_way and self._by_handle.get(receiving.key) is receiving:
            del self._by_handle[receiving.key]
        line = self._lines.get(receiving.request.group)
        if line is not None:
            if receiving.stands_in_line:
                line.leave(receiving)
                self.waiting -= 1
            self._tidy(receiving.request.group, line)

    def proposed(self, receiving: "Receiving", outcome: Leased | RaftlogError) -> None:
        """A proposal has ended."""
        name = receiving.request.group
        line = self._lines[name]
        line.proposals -= 1
        line.proposed -= receiving.request.count
        if isinstance(outcome, Leased) and not outcome.messages:
            self._has_nothing(receiving, line)
            if not receiving.has_ended:
                self._stand(receiving, line, first=True)
                receiving.arm()  # it had not waited before
        self._serve(name, line)

    # -- inside

    def _supersede(self, receiving: "Receiving") -> None:
        """Let the request that has the same handle, if there is one, be answered no more."""
        before = self._by_handle.get(receiving.key)
        if before is not None:
            receiving.is_repeat = before.is_under_way or before.is_repeat
            before.superseded()

    def _begin(self, receiving: "Receiving") -> None:
        self._by_handle[receiving.key] = receiving
        name = receiving.request.group
        line = self._lines.setdefault(name, Line())
        group = self.machine.leasing.groups.find(name)
        flights, handle = self.machine.leasing.flights, receiving.request.handle
        if receiving.is_repeat or flights.granted(group.number, handle):
            self._propose(group, line, receiving)  # asked again: it has them, or is about to
            return
        self._stand(receiving, line, first=False)
        self._serve(name, line)
        receiving.arm()

    def _has_nothing(self, receiving: "Receiving", line: "Line[Receiving]") -> None:
        """Somebody got nothing: look again after a pause, or when something has happened."""
        now_ns = self.scheduler.now_ns()
        if not receiving.found_nothing:
            line.pause_until_ns = now_ns + PAUSE_NS
        elif receiving.wakes == line.wakes:
            line.nothing_until_ns = now_ns + PASS_NS

    def _stand(self, receiving: "Receiving", line: "Line[Receiving]", *, first: bool) -> None:
        line.stand(receiving, first=first)
        self.waiting += 1

    def _make_sure(self, receiving: "Receiving") -> None:
        """Say that there is no such group only when that is certain: this leader may be new."""
        name = receiving.request.group

        def ready(error: RaftlogError | None) -> None:
            if receiving.has_ended:
                return
            if error is not None:
                receiving.end(error)
            elif self.machine.leasing.groups.get(name) is None:
                receiving.end(GroupNotFound(f"there is no queue-style group {name!r}"))
            else:
                # The same may have been asked twice meanwhile: two are not under way at once.
                self._supersede(receiving)
                self._begin(receiving)

        self.replica.read_index(ready)

    def _touched(self, queues: set[int]) -> None:
        """There are new records in some queues, or they moved, or went."""
        if not self._lines:
            return
        machine = self.machine
        topics = {row.topic for number in queues if (row := machine.queues.get(number))}
        self._wake({name for topic in topics for name in machine.leasing.groups.of_topic(topic)})

    def _applied(self, _index: Index) -> None:
        news = self.machine.leasing.news
        for key in news.take_leased():
            receiving = self._by_handle.get(key)
            if receiving is not None and receiving.stands_in_line:
                self._granted(receiving)
        self._wake(news.take_stirred())

    def _granted(self, receiving: "Receiving") -> None:
        """What is leased to somebody who waits is his, whoever has proposed that.

        n1 proposes his lease and is cut off; he asks n2, which leads now, has not applied that
        entry yet, and lets him wait in line: then it applies it.
        """
        name = receiving.request.group
        group, line = self.machine.leasing.groups.get(name), self._lines.get(name)
        if group is not None and line is not None:
            line.leave(receiving)
            self.waiting -= 1
            self._propose(group, line, receiving)

    def _wake(self, names: set[str]) -> None:
        self._time.note()
        for name in sorted(names & self._lines.keys()):  # whoever repeats a run gets the same
            line = self._lines[name]
            line.wake()
            self._serve(name, line)

    def _serve(self, name: str, line: "Line[Receiving]") -> None:
        """Propose for those who wait, as long as there is something for them."""
        leasing = self.machine.leasing
        group = leasing.groups.get(name)
        if group is None:
            while line.waiting:
                line.waiting[0].end(GroupNotFound(f"queue-style group {name!r} was deleted"))
            self._tidy(name, line)
            return
        if line.is_served:
            return
        line.is_served = True
        now_ns = self.scheduler.now_ns()
        while line.waiting and line.pause_until_ns <= now_ns:
            if line.proposals and self._is_told(group):
                break
            if self._ready(group, line, now_ns) <= line.proposed:
                break
            receiving = line.waiting.popleft()
            receiving.stands_in_line = False
            self.waiting -= 1
            self._propose(group, line, receiving)
        line.is_served = False
        self._arm(name, line, group, now_ns)
        self._tidy(name, line)

    def _is_told(self, group: QueueGroup) -> bool:
        """Whether the machine is told what comes next for a group."""
        return group.settings.fifo or bool(self.machine.leasing.subscriptions.of(group).wanted)

    def _ready(self, group: QueueGroup, line: "Line[Receiving]", now_ns: int) -> int:
        """Return about how many messages there may be for those who wait."""
        now_ms, leasing = self._time.now_ms(), self.machine.leasing
        if line.nothing_until_ns > now_ns:
            return int(leasing.flights.next_wait_ms(group.number) <= now_ms)
        return leasing.ready(group, now_ms, line.proposed + 1)

    def _propose(self, group: QueueGroup, line: "Line[Receiving]", receiving: "Receiving") -> None:
        receiving.is_under_way = True
        receiving.wakes = line.wakes
        line.proposals += 1
        line.proposed += receiving.request.count
        request = receiving.request
        if self.machine.leasing.flights.granted(group.number, request.handle):
            receiving.propose(Told())
        elif self.machine.leasing.subscriptions.of(group).wanted:
            ends = receiving.deadline_ns <= self.scheduler.now_ns()
            self._matching.tell(group, request.count, receiving.propose, passes=ends)
        elif group.settings.fifo:
            self._keys.tell(group, request.count, receiving.propose_keys)
        else:
            receiving.propose(Told())

    def _arm(self, name: str, line: "Line[Receiving]", group: QueueGroup, now_ns: int) -> None:
        """Look again when what waits may be leased, or after a pause."""
        at_ns = line.pause_until_ns if line.pause_until_ns > now_ns else 0
        if line.waiting and not at_ns:
            at_ns = line.nothing_until_ns if line.nothing_until_ns > now_ns else 0
            wait_ms = self.machine.leasing.flights.next_wait_ms(group.number)
            if wait_ms != NEVER_MS and not line.proposals:
                wait_ns = now_ns + max(self._time.left_ns(wait_ms), PAUSE_NS)
                at_ns = min(at_ns or wait_ns, wait_ns)
        line.arm(
            *(self.scheduler, at_ns if line.waiting else 0),
            lambda: self._serve(name, line),
        )

    def _tidy(self, name: str, line: "Line[Receiving]") -> None:
        if line.is_empty:
            line.disarm()
            if self._lines.get(name) is line:
                del self._lines[name]


class Receiving:
    """One request under way."""

    __slots__ = (
        "_due_ms",
        "_is_superseded",
        "_reply",
        "_service",
        "_timer",
        "deadline_ns",
        "found_nothing",
        "has_ended",
        "is_repeat",
        "is_under_way",
        "key",
        "request",
        "stands_in_line",
        "wakes",
    )

    def __init__(self, service: ReceiveService, request: Receive, reply: Reply[Received]) -> None:
        self.request = request
        self.key = (request.group, request.handle)
        self.has_ended = False
        self.is_under_way = False
        """It is being proposed, or bodies are being found: also when nobody waits any more."""
        self.is_repeat = False
        """The same was under way when it came."""
        self.stands_in_line = False
        self.found_nothing = False
        """The last look was in vain, and no command was worth it."""
        self.wakes = 0
        """Of its line, when that look began."""
        self._is_superseded = False
        self._due_ms = 0
        self._service = service
        self._reply = reply
        self._timer: Timer | None = None
        wait_ns = min(max(request.wait_ns, 0), FETCH_WAIT_NS_MAX)
        self.deadline_ns = service.scheduler.now_ns() + wait_ns

    def command(self, told: Told) -> ReceiveMessages | ReceiveMatching:
        """Return the command.

        Raises:
            BadRequest: There can be none for such a request.
        """
        request = self.request
        count = min(request.count, MESSAGES_PER_RECEIVE_MAX)
        asked = request.group, request.handle, count, request.lease_ms, told.keys
        if told.stretches is None:
            return ReceiveMessages(*asked)
        return ReceiveMatching(*asked, told.version, told.stretches)

    def propose_keys(self, keys: KeyRuns | RaftlogError) -> None:
        """As ``propose``, of a group without a filter."""
        self.propose(keys if isinstance(keys, RaftlogError) else Told(keys))

    def propose(self, told: Told | RaftlogError | None) -> None:
        """Lease, now that there is something, of which this is told (or can't be).

        None: there is nothing; but what waits is leased, and what it had is asked for again.
        """
        service = self._service

        def leased(outcome: Leased | RaftlogError) -> None:
            self.is_under_way = False
            if self.has_ended:
                if isinstance(outcome, Leased) and not self._is_superseded:
                    self._give_back([*outcome.messages])
                service.forget(self)
            elif isinstance(outcome, RaftlogError):
                self.end(outcome)
            elif outcome.messages:
                service.messages += len(outcome.messages)
                self.is_under_way = True
                self._due_ms = outcome.due_ms
                service.bodies.find(outcome.messages, self._gathered)
            elif service.scheduler.now_ns() >= self.deadline_ns:
                self._end_empty()
            service.proposed(self, outcome)

        if (told is None and self.is_repeat) or (
            not isinstance(told, Told) and service.is_waiting(self.request.group)
        ):
            told = Told()  # what is tried again has its key already, and matched once
        self.found_nothing = told is None
        if told is None:
            leased(Leased((), 0))
        elif isinstance(told, RaftlogError):
            leased(told)
        else:
            propose(service.replica, lambda: self.command(told), Leased, leased)

    def arm(self) -> None:
        """End the wait in time."""
        if self.has_ended or not self.stands_in_line or self._timer is not None:
            return
        left_ns = self.deadline_ns - self._service.scheduler.now_ns()
        if left_ns <= 0:
            self._end_empty()
        else:
            self._timer = self._service.scheduler.call_later(left_ns, self._expire)

    def cancel(self) -> None:
        """Nobody wants the answer any more; ``reply`` is not called."""
        if not self.has_ended:
            self._finish()

    def superseded(self) -> None:
        """The same was asked again: that one is answered."""
        self._is_superseded = True
        self.cancel()

    def end(self, answer: Received | RaftlogError) -> None:
        """Answer."""
        self._finish()
        self._reply(answer)

    def _end_empty(self) -> None:
        leasing = self._service.machine.leasing
        group = leasing.groups.get(self.request.group)
        hindrance = None if group is None else leasing.hindrance(group)
        self.end(hindrance or Received(Gathered([], []), 0, 0))

    def _finish(self) -> None:
        self.has_ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._service.forget(self)

    def _expire(self) -> None:
        self._timer = None
        if self.stands_in_line:  # else a proposal is under way, and ends soon
            self._end_empty()

    def _gathered(self, found: Gathered) -> None:
        self.is_under_way = False
        if self.has_ended:
            if not self._is_superseded:
                self._give_back([*found.left, *found.damaged, *messages_of(found.batches)])
            self._service.forget(self)
            return
        self._give_back(found.left)
        self._give_back(found.damaged, DAMAGED_MS)
        if found.error is not None and not found.batches:
            self.end(found.error)
            return
        group = self._service.machine.leasing.groups.get(self.request.group)
        group_ms = 0 if group is None else group.settings.lease_ms
        lease_ms = self.request.lease_ms or group_ms
        left_ms = min(lease_ms, max(1, self._due_ms - self._service.now_ms()))
        self.end(Received(found, lease_ms, left_ms))

    def _give_back(self, messages: list[Message], delay_ms: int = SCHEDULE) -> None:
        """End leases of what nobody gets, as nobody has tried it."""
        if not messages:
            return
        by_queue: dict[int, list[int]] = {}
        for queue, offset, _ in messages:
            by_queue.setdefault(queue, []).append(offset)
        names = tuple(
            (self.request.handle, queue, tuple(offsets)) for queue, offsets in by_queue.items()
        )
        value = ReturnMessages(self.request.group, names, GiveBack.UNTRIED, delay_ms)
        propose_unheard(self._service.replica, value)
