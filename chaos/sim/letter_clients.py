"""Dead letters in the simulator: a group that fails much, and who sends its letters again.

They have a world of their own, with random numbers of their own: in a seed without them
nothing is otherwise than before. Who sends again does it as the client library does: a letter
is leased by a group of its own, sent by its own id, and acknowledged. It stops in between, or
stands still for so long that somebody else has the letter meanwhile. Letters whose topic is
gone stay, until they are sent to another one in the end.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from google.protobuf.message import Message

from chaos.sim.client_world import ClientWorld
from chaos.sim.events import MS_NS, EventQueue, stream
from chaos.sim.lease_workers import Job, Jobs, Keeper, Worker
from chaos.sim.letter_facts import message_of
from chaos.sim.letter_work import TOPICS, LetterWork, resends_of
from raftlog.base.errors import OutcomeUnknown, RaftlogError, TopicNotFound, WrongQueue
from raftlog.client.dead_letters import RESENDER, copy_of
from raftlog.client.packing import place_of_key, route_of
from raftlog.wire.batch import Producer, Record, encode_batch, encode_columns
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, leases, topics

if TYPE_CHECKING:
    from chaos.sim.facts import Facts
    from chaos.sim.process import Process
    from chaos.sim.swarm import BrokerConfig
    from raftlog.base.ids import NodeId

LONG_AGO_MS: Final = 1_700_000_000_000
"""When records of this workload were made: not when a letter of them is."""


class LetterClients:
    """All of them."""

    def __init__(
        self,
        work: LetterWork,
        queue: EventQueue,
        config: "BrokerConfig",
        facts: "Facts",
        process_of: "Callable[[NodeId], Process | None]",
        nodes: "Sequence[NodeId]",
    ) -> None:
        random = stream(work.seed, "letter work")
        config = msgspec.structs.replace(config, ids=0)
        facts.leases.is_watching = True
        self._facts = facts
        self._work = work
        self.world = ClientWorld(queue, random, config, facts, process_of, nodes)
        self._keeper = LetterKeeper(self.world, work)
        self._workers = [
            Worker(self.world, f"{group.name}-{number}", work.jobs, group)
            for group in work.jobs.groups
            for number in range(work.jobs.workers)
        ]
        self._workers += [
            Resender(self.world, f"{group.name}-resender-{number}", work, group.name)
            for group in work.jobs.groups
            for number in range(work.resenders)
        ]

    def start(self) -> None:
        """Begin."""
        self._keeper.start()
        for worker in self._workers:
            worker.start()

    def heal(self) -> None:
        """The faults are over."""
        self.world.heal()

    def stop(self) -> None:
        """Send nothing new, work in earnest, and send again what is left."""
        self.world.stopped = True

    def why_not_ended(self) -> str | None:
        """Return what is not ended yet, or None; then workers stop."""
        facts = self._facts
        queues: dict[int, tuple[int, int]] = {}
        for name in self._work.jobs.topics:
            topic = facts.topics.get(name)
            if topic is None:
                return f"there is no topic {name}"
            queues.update(
                (queue, facts.bounds(queue))
                for queue in topic.queues
                if queue not in facts.deleted
            )
        for each in self._work.jobs.groups:
            letters = {at: facts.bounds(at) for at in facts.letters.queues_of(each.name)}
            for name, there in ((each.name, queues), (RESENDER + each.name, letters)):
                left = facts.leases.undone(name, there)
                if left:
                    return f"{name} has not ended {len(left)} messages, as {left[0]}"
        self.world.members_stopped = True
        return None


class LetterJobs(Jobs):
    """Records with all that a letter has to keep."""

    def batch(self, producer: Producer) -> bytes:
        """Return their bytes."""
        count = len(self.values)
        return encode_columns(
            self.values,
            self.keys,
            headers={at: [("at", b"%d" % at), ("at", b"")] for at in range(0, count, 2)},
            tags=[None, *("second",) * (count - 1)],
            timestamp_ms=LONG_AGO_MS,
            timestamps_ms=[LONG_AGO_MS + at for at in range(count)],
            producer=producer,
            codec=self._world.config.codec,
        )


class LetterKeeper(Keeper):
    """Makes the topics, sends, and deletes one of the topics with all that is in it."""

    def __init__(self, world: ClientWorld, work: LetterWork) -> None:
        super().__init__(world, work.jobs, "letter-keeper")
        self._deletes_per_s = work.deletes_per_s

    def start(self) -> None:
        """Begin."""
        super().start()
        self.world.every(self._deletes_per_s, self._delete_topic)

    def jobs_for(self, queue: int) -> Jobs:
        """Return new ones."""
        return LetterJobs(self.world, self.name, queue)

    def _delete_topic(self) -> None:
        name = TOPICS[-1]

        def done(
            _answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None or isinstance(error, TopicNotFound):
                again_ms = self.world.random.randrange(3_000)
                self.world.queue.after(again_ms * MS_NS, lambda: self.create(name))

        self.ask(Method.TOPIC_DELETE, topics.DeleteTopic(name=name), done)


class _Copy(msgspec.Struct):
    """A letter that is being sent again."""

    job: Job
    topic: str
    record: Record


class Resender(Worker):
    """Sends letters again: its work is done when one is stored."""

    def __init__(self, world: ClientWorld, name: str, work: LetterWork, group: str) -> None:
        resends = resends_of(work, group)
        super().__init__(world, name, resends, resends.groups[0])
        self._how = work
        self._of = group

    def handle(self, job: Job) -> None:
        """Send it, at once or a little later."""
        topic, record = copy_of(message_of(job.offset, job.record), self._of, job.queue)
        assert record.id is not None, "a letter is sent again without an id"
        self.world.facts.letters.sends((job.queue, job.offset), record.id)
        copy = _Copy(job, topic, record)
        self.world.soon(lambda: self._send(copy))

    def _send(self, copy: _Copy) -> None:
        world = self.world
        described = world.topics.get(copy.topic)
        if world.members_stopped:
            return
        if described is None:
            self._look(copy)
            return
        route = route_of(copy.record)
        assert route is not None, f"{copy.record} has an id"
        queue = described.queues[place_of_key(route, len(described.queues))].queue

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, client.BatchAppended), f"answered by {answer!r}"
                how = "twice" if answer.duplicate else "again"
                world.marks[f"letters sent {how}"] += 1
                self._sent(copy.job)
            elif isinstance(error, WrongQueue):
                self._look(copy)
            else:
                assert error.retriable or isinstance(error, OutcomeUnknown), f"{error!r}"
                world.soon(lambda: self._send(copy))

        data = encode_batch(
            [copy.record], timestamp_ms=copy.record.timestamp_ms, codec=world.config.codec
        )
        self.ask(Method.APPEND, client.AppendBatch(queue=queue), done, payload=data)

    def _look(self, copy: _Copy) -> None:
        """Learn which queues the topic has now."""

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if isinstance(error, TopicNotFound):
                self.world.topics.pop(copy.topic, None)
                self._stays(copy)
                return
            if error is None:
                assert isinstance(answer, topics.TopicDescription), f"answered by {answer!r}"
                self.world.topics[copy.topic] = answer
            self.world.soon(lambda: self._send(copy))

        self.ask(Method.TOPIC_DESCRIBE, topics.DescribeTopic(name=copy.topic), done)

    def _stays(self, copy: _Copy) -> None:
        """Its topic is gone: in the end another one is named, until then somebody else may try."""
        world, job = self.world, copy.job
        world.marks["letters of deleted topics"] += 1
        if world.stopped:
            world.marks["letters sent to another topic"] += 1
            copy.topic = TOPICS[0]
            world.facts.letters.redirected((job.queue, job.offset), copy.topic)
            self._send(copy)
            return
        back = leases.ReturnMessages(
            group=RESENDER + self._of, messages=self.names_of(job), how=leases.GIVE_BACK_UNTRIED
        )
        world.queue.after(500 * MS_NS, lambda: self.say(Method.QUEUE_RETURN, back, job))

    def _sent(self, job: Job) -> None:
        """It is stored: mark it, unless this process stops here, or stands still for long."""
        world, how = self.world, self._how
        drawn = 1.0 if world.stopped else world.random.random()
        if drawn < how.dies:
            world.marks["resenders died"] += 1
            return
        delay_ms = world.random.randrange(1_000, 4_000) if drawn < how.dies + how.stands else 0
        message = leases.AckMessages(group=RESENDER + self._of, messages=self.names_of(job))
        world.queue.after(delay_ms * MS_NS, lambda: self.say(Method.QUEUE_ACK, message, job))
