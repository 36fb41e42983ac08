"""Consumers: readers by offset, and members of groups, some of whom fall asleep.

A member joins, claims what it is assigned, reads from where the claim says, and
commits what it was given. Sometimes it stands still, is thrown out, wakes up and
commits: then it is a zombie and must be fenced. It never gives up by itself; a
new life of it has a new name.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from google.protobuf.message import Message

from chaos.check.filtered_reads import Wish, check_filtered
from chaos.sim.client_world import Client, ClientWorld
from chaos.sim.events import MS_NS
from raftlog.base.errors import (
    Fenced,
    OffsetOutOfRange,
    OutcomeUnknown,
    RaftlogError,
    UnknownMember,
    WrongQueue,
)
from raftlog.base.ids import NodeId
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, groups

READ_BYTES: Final = 2_000


class Wanted(NamedTuple):
    """A filter, and what it means."""

    filter: client.RecordFilter
    wish: Wish


WISHES: Final = (
    Wanted(client.RecordFilter(tags=["third"]), lambda record: record.tag == "third"),
    Wanted(
        client.RecordFilter(condition="n < 3 OR n IS NULL"),
        lambda record: not record.headers or int(record.headers[0][1]) < 3,
    ),
    Wanted(
        client.RecordFilter(tags=["third", "other"], condition="NOT n BETWEEN 2 AND 8"),
        lambda record: (
            record.tag == "third"
            and bool(record.headers)
            and not 2 <= int(record.headers[0][1]) <= 8
        ),
    ),
)


class QueueReader(Client):
    """Reads one queue after the other, from any node, for one session."""

    def __init__(self, world: ClientWorld, name: str) -> None:
        super().__init__(world, name)
        self._queue = 0
        self._offset = 0
        self._session = 0

    def start(self) -> None:
        """Begin to read, and to ask for ends."""
        self.world.every(self.world.config.reads_per_s, self._read)
        self.world.every(self.world.config.reads_per_s / 4, self._ask_end)
        self.world.every(self.world.config.reads_per_s / 4, self._find)

    def _read(self) -> None:
        world = self.world
        if world.random.random() < 0.1 or not self._queue:
            self._queue = world.some_queue() or 0
            self._offset = world.random.choice((0, world.facts.reads.end(self._queue)))
        queue, offset = self._queue, self._offset

        def done(after: int) -> None:
            if (self._queue, self._offset) == (queue, offset):
                self._offset = after

        self.read(queue, offset, done, world.random.choice((None, None, *WISHES)))

    def read(
        self,
        queue: int,
        offset: int,
        done: Callable[[int], None],
        wanted: Wanted | None = None,
    ) -> None:
        """Read from ``offset``; ``done`` is told where to go on."""
        world = self.world
        session = self._session
        staleness_ms = self._draw_staleness_ms()
        floor = 0
        known = world.facts.staleness.floor(queue, world.queue.now_ns)
        if staleness_ms is not None:
            # A node's clock may be slower than time, by a few percent.
            moment_ns = world.queue.now_ns - staleness_ms * MS_NS * 21 // 20
            floor = world.facts.staleness.floor(queue, moment_ns)
        message = client.ReadBatches(
            queue=queue,
            offset=offset,
            bytes_max=world.random.choice((1, READ_BYTES)),
            wait_ms=world.random.choice((0, 100, 300)),
            session_applied=session,
            staleness_ms=staleness_ms,
            filter=None if wanted is None else wanted.filter,
        )

        def answered(
            answer: Message | None, parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if isinstance(error, OffsetOutOfRange):
                if staleness_ms is not None:
                    world.marks["bounded reads refused"] += 1
                    world.facts.staleness.refused(queue, known, error.end)
                done(max(offset, error.start))
            elif error is not None:
                done(offset)
            else:
                assert isinstance(answer, client.BatchesRead), f"read answered by {answer!r}"
                reads = world.facts.reads
                reads.answered_session(session, answer.applied)
                if staleness_ms is not None:
                    world.marks["bounded reads"] += 1
                    world.facts.staleness.answered(queue, floor, answer.end_offset)
                self._session = max(self._session, answer.applied)
                batches = _split(answer, parts)
                if wanted is not None:
                    self._check(queue, offset, answer, batches, wanted)
                    done(answer.next_offset)
                    return
                world.marks["batches read"] += len(parts)
                done(reads.read(queue, offset, answer.base_offsets, batches))

        node = self.believed if world.random.random() < 0.6 else world.random.choice(world.nodes)
        self.ask(Method.READ, message, answered, node=node)

    def _check(
        self,
        queue: int,
        offset: int,
        answer: client.BatchesRead,
        batches: Sequence[bytes],
        wanted: Wanted,
    ) -> None:
        """Compare what came through a filter with what matches in the log."""
        matching = [list(found.numbers) for found in answer.matching]
        self.world.marks["filtered reads"] += 1
        self.world.marks["filtered records"] += sum(map(len, matching))
        self.world.marks["filtered stretches"] += not batches and answer.next_offset > offset
        check_filtered(
            *(queue, offset, answer.next_offset),
            list(zip(answer.base_offsets, batches, matching, strict=True)),
            self.world.facts.reads.batches.get(queue, ()),
            wanted.wish,
        )

    def _draw_staleness_ms(self) -> int | None:
        return self.world.random.choice((None, None, 0, 50, 300, 2_000))

    def _ask_end(self) -> None:
        queue = self.world.some_queue()
        if queue is None:
            return
        reads = self.world.facts.reads
        floor = reads.asks_end(queue)

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, client.EndOffsetIs), f"answered by {answer!r}"
                self.world.marks["ends asked"] += 1
                reads.answered_end(queue, floor, answer.end_offset)

        node: NodeId = self.world.random.choice((self.believed, *self.world.nodes))
        self.ask(Method.END_OFFSET, client.EndOffset(queue=queue), done, node=node)

    def _find(self) -> None:
        queue = self.world.some_queue()
        reads = self.world.facts.reads
        if queue is None or not reads.batches.get(queue):
            return
        known = reads.end(queue)
        chosen = self.world.random.choice(reads.batches[queue])
        log_time_ms = chosen.log_time_ms + self.world.random.choice((-1, 0, 1))

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, client.OffsetFound), f"answered by {answer!r}"
                self.world.marks["times found"] += 1
                start, _ = self.world.facts.bounds(queue)
                reads.found(queue, log_time_ms, answer.offset, start=start, known_end=known)

        message = client.FindOffset(queue=queue, log_time_ms=log_time_ms)
        self.ask(Method.FIND_OFFSET, message, done)


def _split(answer: client.BatchesRead, parts: Sequence[bytes]) -> list[bytes]:
    """Return the batches of an answer, as its lengths divide the payload."""
    payload = b"".join(parts)
    batches = []
    position = 0
    for length in answer.lengths:
        batches.append(payload[position : position + length])
        position += length
    return batches


class GroupMember(QueueReader):
    """One member of a group, through all its lives."""

    def __init__(self, world: ClientWorld, name: str, group: str, topics: Sequence[str]) -> None:
        super().__init__(world, name)
        self.group: Final = group
        self._topics = topics
        place = list(world.config.groups).index(group)
        self._wanted = (None, *WISHES)[place % (1 + len(WISHES))]
        """The subscription of its group: the same for all of its members."""
        self._lives = 0
        self._generation = 0
        self._positions: dict[int, int] = {}

    @property
    def member(self) -> str:
        """The id of this life."""
        return f"{self.name}.{self._lives}"

    def start(self) -> None:
        """Join."""
        self._lives += 1
        self._join(self._lives)

    def _lives_on(self, life: int) -> bool:
        return life == self._lives and not self.world.members_stopped

    def _again(self, life: int, act: Callable[[int], None]) -> None:
        self.world.soon(lambda: act(life) if self._lives_on(life) else None)

    # -- membership

    def _join(self, life: int) -> None:
        self._generation = 0

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if not self._lives_on(life):
                return
            if error is not None:
                self._again(life, self._join)
                return
            assert isinstance(answer, groups.GroupAssignment), f"join answered by {answer!r}"
            self.world.marks["joins"] += 1
            self._adopt(life, answer)
            self._heartbeat(life)

        message = groups.JoinGroup(
            group=self.group,
            member=self.member,
            topics=self._topics,
            session_ms=self.world.config.session_ms,
            client=self.name,
            filter=None if self._wanted is None else self._wanted.filter,
        )
        self.ask(Method.GROUP_JOIN, message, done)

    def _heartbeat(self, life: int) -> None:
        world = self.world

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if not self._lives_on(life):
                return
            if isinstance(error, UnknownMember):
                world.marks["members expired"] += 1
                self._again(life, self._join)
                return
            if error is None:
                assert isinstance(answer, groups.GroupAssignment), f"answered by {answer!r}"
                self._adopt(life, answer)
            if not world.stopped and world.random.random() < world.config.member_leaves:
                self._leave(life)
            elif not world.stopped and world.random.random() < world.config.member_sleeps:
                world.marks["members asleep"] += 1
                delay_ns = world.random.randrange(500, 6_000) * MS_NS
                world.queue.after(delay_ns, lambda: self._wake(life))
            else:
                self._again(life, self._heartbeat)

        message = groups.HeartbeatGroup(
            group=self.group,
            member=self.member,
            generation=self._generation,
            wait_ms=world.random.choice((0, 100, 400)),
        )
        self.ask(Method.GROUP_HEARTBEAT, message, done)

    def _wake(self, life: int) -> None:
        if self._lives_on(life):
            self._heartbeat(life)

    def _leave(self, life: int) -> None:
        """Leave, and come back under another name."""
        message = groups.LeaveGroup(group=self.group, member=self.member)
        self.ask(Method.GROUP_LEAVE, message, lambda *_: None)
        assert life == self._lives, f"life {life} of {self.name} leaves in {self._lives}"
        self._generation = 0
        self.start()

    # -- queues

    def _adopt(self, life: int, answer: groups.GroupAssignment) -> None:
        """Take over what is assigned, in a generation that is news."""
        queues = [each.queue for each in answer.queues]
        self.world.facts.assignments.told(self.group, answer.generation, self.member, queues)
        if answer.generation <= self._generation:
            return
        self._generation = answer.generation
        self._positions = {}
        for queue in queues:
            self._commit_early(answer.generation, queue)
            self._claim(life, answer.generation, queue)

    def _owns(self, life: int, generation: int) -> bool:
        return self._lives_on(life) and generation == self._generation

    def _claim(self, life: int, generation: int, queue: int) -> None:
        offsets = self.world.facts.groups
        floor = offsets.floor(self.group, queue)

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if isinstance(answer, groups.QueueClaimed):
                committed = None if answer.committed < 0 else answer.committed
                offsets.told(self.group, queue, floor, committed)
                if self._owns(life, generation):
                    position = answer.start_offset if committed is None else committed
                    self._positions[queue] = position
                    self._consume(life, generation, queue)
            elif self._owns(life, generation) and not isinstance(error, Fenced | WrongQueue):
                self.world.soon(
                    lambda: (
                        self._claim(life, generation, queue)
                        if self._owns(life, generation)
                        else None
                    )
                )

        message = groups.ClaimQueue(
            group=self.group, member=self.member, generation=generation, queue=queue
        )
        self.ask(Method.GROUP_CLAIM, message, done)

    def _consume(self, life: int, generation: int, queue: int) -> None:
        """Read on; a member that sleeps reads on too, which makes it the worse zombie."""
        world = self.world
        offset = self._positions[queue]

        def done(after: int) -> None:
            if not self._owns(life, generation):
                return
            self._positions[queue] = after
            if after > offset:
                world.facts.groups.gives(self.group, queue, offset, after)
                self._commit_later(self.member, generation, queue, after)
            world.soon(
                lambda: (
                    self._consume(life, generation, queue)
                    if self._owns(life, generation)
                    else None
                )
            )

        self.read(queue, offset, done, self._wanted)

    def _commit_later(self, member: str, generation: int, queue: int, offset: int) -> None:
        """Commit what was given: soon, or so late that somebody else has the queue."""
        world = self.world
        asleep = not world.stopped and world.random.random() < world.config.commits_late
        delay_ms = world.random.randrange(1_000, 7_000) if asleep else world.random.randrange(100)
        world.queue.after(
            delay_ms * MS_NS, lambda: self._commit(member, generation, queue, offset)
        )

    def _commit_early(self, generation: int, queue: int) -> None:
        """Commit what is committed, without a claim of this generation: it must be refused."""
        world = self.world
        if world.random.random() < world.config.commits_late:
            offset = world.facts.groups.committed.get((self.group, queue), 0)
            self._commit(self.member, generation, queue, offset)

    def _commit(self, member: str, generation: int, queue: int, offset: int) -> None:
        if self.world.members_stopped:
            return

        def done(
            _answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                self.world.facts.groups.acked(self.group, queue, offset)
            elif isinstance(error, Fenced):
                self.world.marks["zombies fenced"] += 1
            elif generation == self._generation and (
                error.retriable or isinstance(error, OutcomeUnknown)
            ):  # to commit the same once more does no harm
                self._commit_later(member, generation, queue, offset)

        message = groups.CommitOffsets(
            group=self.group,
            member=member,
            generation=generation,
            offsets=[groups.QueueOffset(queue=queue, offset=offset)],
        )
        self.ask(Method.GROUP_COMMIT, message, done)
