"""A shard with consumer groups for the tests of everything about them."""

from typing import cast

from raftlog.base.errors import RaftlogError
from raftlog.broker.claims import CommitOffsets, GroupSought, OffsetsCommitted, QueueClaimed
from raftlog.broker.group_commands import (
    Assignment,
    GroupDeleted,
    GroupLeft,
    Subscription,
)
from raftlog.broker.topics import TopicChanges
from raftlog.service.claims import ClaimService
from raftlog.service.groups import Described, GroupService, Page
from raftlog.service.heartbeats import Beating, Heartbeat, HeartbeatService
from raftlog.service.ports import StoredRanges
from raftlog.service.produce import ProduceService
from raftlog.service.sessions import Sessions
from raftlog.service.unread import UnreadTimes
from raftlog.wire.batch import encode_columns
from tests.service.fakes import FakeReplica, FakeScheduler, topic_service

MS = 1_000_000
SECOND = 1_000 * MS
SESSION_MS = 10_000

Answer = (
    Assignment
    | GroupLeft
    | GroupDeleted
    | Described
    | Page
    | QueueClaimed
    | OffsetsCommitted
    | GroupSought
    | RaftlogError
)


class Consumers:
    """A leader with a topic ``orders`` of two queues; the group is ``billing``."""

    def __init__(self) -> None:
        self.replica = FakeReplica()
        self.scheduler = FakeScheduler()
        self.machine = self.replica.machine
        self.sessions = Sessions(self.replica, self.machine, self.scheduler)
        self.groups = GroupService(
            *(self.replica, self.machine, self.sessions),
            UnreadTimes(self.machine, cast("StoredRanges", None)),
            lambda: self.machine.log_time_ms + self.scheduler.wall_ms(),
        )
        self.claims = ClaimService(self.replica, self.machine)
        self.heartbeats = HeartbeatService(
            self.replica, self.machine, self.sessions, self.scheduler
        )
        self.topics = topic_service(self.replica, self.machine)
        self.produce = ProduceService(self.replica, self.machine)
        self.answers: list[Answer] = []
        self.sessions.begin()
        self.create("orders", 2)

    def create(self, name: str, queues: int) -> tuple[int, ...]:
        """Make a topic; return the numbers of its queues."""
        self.topics.create(name, TopicChanges(queues=queues), lambda _: None)
        self.replica.commit()
        return self.queues(name)

    def queues(self, name: str = "orders") -> tuple[int, ...]:
        """Return a topic's queues."""
        topic = self.machine.topics.get(name)
        assert topic is not None
        return topic.queues

    def store(self, queue: int, count: int) -> None:
        """Append some records to a queue."""
        self.produce.append(queue, encode_columns([b"v"] * count, timestamp_ms=5), lambda _: None)
        self.replica.commit()

    def told(self) -> Answer:
        """Return the only answer since the last call."""
        (answer,) = self.answers
        self.answers.clear()
        return answer

    def join(
        self,
        member: str = "m1",
        *topics: str,
        session_ms: int = SESSION_MS,
        group: str = "billing",
        assignor: str = "",
        life: int = 0,
    ) -> Assignment:
        """Join, successfully."""
        names = topics or ("orders",)
        self.groups.join(
            *(group, member, Subscription(names, assignor=assignor), self.answers.append),
            session_ms=session_ms,
            life=life,
        )
        self.replica.commit()
        assignment = self.told()
        assert isinstance(assignment, Assignment), assignment
        return assignment

    def beat(self, member: str, generation: int, wait_ns: int = 0, life: int = 0) -> Beating:
        """Send a heartbeat of a member."""
        heartbeat = Heartbeat("billing", member, generation, wait_ns, life)
        return self.heartbeats.heartbeat(heartbeat, self.answers.append)

    def claim(self, member: str, generation: int, queue: int, life: int = 0) -> Answer:
        """Claim a queue; return what was told."""
        self.claims.claim("billing", member, generation, queue, self.answers.append, life=life)
        self.replica.commit()
        return self.told()

    def seek(self, group: str, *offsets: tuple[int, int]) -> Answer:
        """Seek; return what was told. What is refused at once is not proposed."""
        self.claims.seek(group, offsets, self.answers.append)
        self.replica.confirm()
        if self.replica.proposed:
            self.replica.commit()
        return self.told()

    def commit(self, member: str, generation: int, queue: int, offset: int) -> Answer:
        """Commit an offset; return what was told."""
        command = CommitOffsets("billing", member, generation, ((queue, offset),))
        self.claims.commit(lambda: command, self.answers.append)
        self.replica.commit()
        return self.told()

    def members(self) -> list[str]:
        """Return the group's members."""
        group = self.machine.groups.get("billing")
        return [] if group is None else sorted(group.members)

    def pass_time(self, ms: int) -> None:
        """Let time pass in small steps, committing what comes of it."""
        for _ in range(ms // 100):
            self.scheduler.advance(100 * MS)
            self.turn()

    def turn(self) -> None:
        """Do what waits for the next turn of the loop."""
        soon, self.scheduler.soon = self.scheduler.soon, []
        for call in soon:
            call()
        if self.replica.proposed:
            self.replica.commit()
