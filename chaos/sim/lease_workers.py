"""Who sends for queue-style groups, works for them, and decides.

Workers are slow, die with what they hold, say things twice, and say them late, under leases that
have ended. In the end they work in earnest.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from google.protobuf.message import Message

from chaos.check.ends_counted import Counts
from chaos.check.lease_model import Place
from chaos.check.one_place import NAME as ONE_PLACE
from chaos.check.violation import Violation
from chaos.sim.client_world import Client, ClientWorld
from chaos.sim.events import MS_NS
from chaos.sim.lease_work import RESULTS, TOPIC, GroupWork, LeaseWork
from chaos.sim.producers import Records, send_once
from chaos.sim.wishes import WISHES
from raftlog.base.errors import (
    BadRequest,
    GroupNotFound,
    OutcomeUnknown,
    RaftlogError,
    StaleLease,
    SubscriptionConflict,
    TopicExists,
    TopicNotFound,
)
from raftlog.wire.batch import Batch, Producer, Record, encode_columns
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups, leases, topics

QUEUES_MAX: Final = 4
COUNTS_PER_S: Final = 0.3
"""How often somebody asks what a group has counted."""
KEYS: Final = (b"a", b"b", b"c", None)


class Job(NamedTuple):
    """A message that a worker was given."""

    handle: int
    queue: int
    offset: int
    record: Record
    seeks: int = 0
    """How many there were of the group when it was asked for."""


class Jobs(Records):
    """Records with keys."""

    def __init__(self, world: ClientWorld, owner: str, queue: int) -> None:
        super().__init__(world, owner, queue)
        self.keys = [world.random.choice(KEYS) for _ in self.values]

    def batch(self, producer: Producer) -> bytes:
        """Return their bytes, as the filters of groups may want them."""
        numbers = [int(value.split(b":")[1]) for value in self.values]
        return encode_columns(
            self.values,
            self.keys,
            headers={at: [("n", b"%d" % (n % 10))] for at, n in enumerate(numbers) if n % 4},
            tags=["third" if n % 3 == 0 else None for n in numbers],
            timestamp_ms=self._world.queue.now_ns // MS_NS,
            producer=producer,
            codec=self._world.config.codec,
        )


class Keeper(Client):
    """Makes the topic and the groups, sends, decides what is blocked, and deletes a group."""

    def __init__(self, world: ClientWorld, work: LeaseWork, name: str = "keeper") -> None:
        super().__init__(world, name)
        self._work = work

    def start(self) -> None:
        """Begin."""
        for name in self._work.topics:
            self.create(name)
        if self._work.settles:
            self._create_results()
        self.world.every(self._work.sends_per_s, self._send)
        self.world.every(self._work.deletes_per_s, self._delete)
        self.world.every(self._work.alters_per_s, self._alter)
        self.world.every(self._work.subscribes_per_s, self._subscribe)
        self.world.every(self._work.seeks_per_s, self._seek)
        self.world.every(COUNTS_PER_S, self._count)
        self.decide()

    def decide(self) -> None:
        """Decide what is blocked, from now on."""
        for group in self._work.groups:
            if group.poison == leases.POISON_POLICY_BLOCK:
                self._decide_later(group)

    def create(self, name: str) -> None:
        """Make a topic, or learn that it is there."""

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if isinstance(error, TopicExists):
                self.describe(name, lambda: None)
            elif error is not None:
                self.world.soon(lambda: self.create(name))
            else:
                assert isinstance(answer, topics.TopicDescription), f"answered by {answer!r}"
                self.world.topics[name] = answer

        settings = topics.TopicSettings(
            queues=self._work.queues,
            retention_ms=self._work.retention_ms,
            until_consumed=self._work.until_consumed,
        )
        message = topics.CreateTopic(name=name, settings=settings)
        self.ask(Method.TOPIC_CREATE, message, done)

    def _create_results(self) -> None:
        """Make the topic of what is made of jobs; no job is sent there."""

        def done(
            _answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is not None and not isinstance(error, TopicExists):
                self.world.soon(self._create_results)

        message = topics.CreateTopic(name=RESULTS, settings=topics.TopicSettings(queues=2))
        self.ask(Method.TOPIC_CREATE, message, done)

    def _send(self) -> None:
        queue = self.world.some_queue()
        if queue is None:
            for name in self._work.topics:
                self.describe(name, lambda: None)
            return
        send_once(self, self.jobs_for(queue), queue)

    def jobs_for(self, queue: int) -> Jobs:
        """Return new ones."""
        return Jobs(self.world, self.name, queue)

    def _delete(self) -> None:
        group = self.world.random.choice(self._work.groups)
        message = groups.DeleteGroup(group=group.name)
        self.ask(Method.GROUP_DELETE, message, lambda *_: None)

    def _subscribe(self) -> None:
        """Let a group want something else from now on, or all."""
        group = self.world.random.choice(self._work.groups)
        wish = self.world.random.choice((None, *WISHES))
        message = leases.OpenQueueGroup(
            group=group.name,
            topics=self._work.topics,
            filter=None if wish is None else wish.filter,
            by=leases.OPENED_BY_REPLACE,
        )
        self.ask(Method.QUEUE_OPEN, message, lambda *_: None)

    def _seek(self) -> None:
        """Let a group go on somewhere else, in one queue or all."""
        random, topic = self.world.random, self.world.topics.get(TOPIC)
        if topic is None:
            return
        queues = random.sample(
            [each.queue for each in topic.queues], random.randint(1, len(topic.queues))
        )
        message = leases.SeekQueueGroup(
            group=random.choice(self._work.groups).name,
            offsets=[
                leases.SoughtOffset(queue=queue, offset=self._somewhere(queue)) for queue in queues
            ],
            dry_run=random.random() < 0.1,
        )
        self.ask(Method.QUEUE_SEEK, message, lambda *_: None)

    def _somewhere(self, queue: int) -> int:
        start, end = self.world.facts.bounds(queue)
        random = self.world.random
        return random.choice((start, end, random.randint(start, end), random.randint(start, end)))

    def _count(self) -> None:
        """Ask what became of a group's messages."""
        name = self.world.random.choice(self._work.groups).name
        facts = self.world.facts.leases
        before = facts.ends(name)

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, leases.QueueGroupDescription), f"by {answer!r}"
                counts = Counts(answer.dead_letters, answer.skipped, answer.expired)
                facts.has_counted(name, counts, before)

        self.ask(Method.QUEUE_DESCRIBE, leases.DescribeQueueGroup(group=name), done)

    def _alter(self) -> None:
        """Add a queue, or let nobody read for a while."""
        random, world = self.world.random, self.world
        topic = world.topics.get(TOPIC)
        if topic is None:
            return
        if random.random() < 0.2 and len(topic.queues) < QUEUES_MAX:
            settings = topics.TopicSettings(queues=len(topic.queues) + 1)
            message = topics.AlterTopic(name=TOPIC, settings=settings)
            self.ask(Method.TOPIC_ALTER, message, lambda *_: self.describe(TOPIC, lambda: None))
            return
        self._shut(readable=False)
        world.queue.after(random.randrange(200, 2_500) * MS_NS, self._let_read)

    def _shut(self, *, readable: bool) -> None:
        settings = topics.TopicSettings(readable=readable)
        message = topics.AlterTopic(name=TOPIC, settings=settings)
        self.ask(Method.TOPIC_ALTER, message, lambda *_: None)

    def _let_read(self) -> None:
        """Let it be read again; in the end again and again, as other requests may be late."""
        self._shut(readable=True)
        if self.world.stopped and not self.world.members_stopped:
            self.world.queue.after(700 * MS_NS, self._let_read)

    def stop(self) -> None:
        """Let everything be read."""
        if self._work.alters_per_s:
            self._let_read()

    def _decide_later(self, group: GroupWork) -> None:
        delay_ms = self.world.random.randrange(200, 3_000)
        self.world.queue.after(delay_ms * MS_NS, lambda: self._look(group))

    def _look(self, group: GroupWork) -> None:
        if self.world.members_stopped:
            return

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, leases.InFlightListed), f"answered by {answer!r}"
                for each in answer.messages:
                    self._decide(group, each)
            self._decide_later(group)

        message = leases.ListInFlight(group=group.name, after_offset=-1, blocked=True)
        self.ask(Method.QUEUE_IN_FLIGHT, message, done)

    def _decide(self, group: GroupWork, each: leases.InFlight) -> None:
        verdicts = (leases.VERDICT_SKIP, leases.VERDICT_DEAD_LETTER, leases.VERDICT_RETRY)
        message = leases.DecideBlocked(
            group=group.name,
            queue=each.queue,
            offset=each.offset,
            verdict=self.world.random.choice(verdicts),
        )
        self.ask(Method.QUEUE_DECIDE, message, lambda *_: None)


class Worker(Client):
    """Works for a group, and not always well."""

    def __init__(self, world: ClientWorld, name: str, work: LeaseWork, group: GroupWork) -> None:
        super().__init__(world, name)
        self._work = work
        self._group = group
        self._topics = work.topics
        self._lives = 0
        self._agrees = False
        self._is_old = False
        """At level 3 no group has a filter."""

    def start(self) -> None:
        """Make the group, then ask for messages, again and again."""
        self._lives += 1
        self._open(self._lives)

    def _lives_on(self, life: int) -> bool:
        return life == self._lives and not self.world.members_stopped

    def _again(self, life: int, act: "Callable[[int], None]") -> None:
        delay_ns = int(self.world.random.expovariate(self._work.receives_per_s) * 1e9)
        if self.world.stopped:
            delay_ns = min(delay_ns, 200 * MS_NS)
        self.world.queue.after(delay_ns, lambda: act(life) if self._lives_on(life) else None)

    def _open(self, life: int) -> None:
        def done(
            _answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if isinstance(error, TopicNotFound) and self.world.stopped:
                self._topics = self._work.topics[:1]  # nobody makes the others again
            self._agrees = isinstance(error, SubscriptionConflict)
            self._is_old = isinstance(error, BadRequest)
            self._again(life, self._open if error is not None else self._receive)

        group = self._group
        if self._agrees:  # with whatever somebody has said by hand
            self.ask(Method.QUEUE_OPEN, leases.OpenQueueGroup(group=group.name), done)
            return
        settings = leases.QueueGroupSettings(
            lease_ms=group.lease_ms,
            attempts_max=group.attempts,
            retry_ms=group.retry_ms,
            in_flight_max=group.in_flight,
            fifo=group.fifo,
            poison=group.poison,  # type: ignore[arg-type]
        )
        wanted = None if group.wanted is None or self._is_old else WISHES[group.wanted].filter
        message = leases.OpenQueueGroup(
            group=group.name, topics=self._topics, settings=settings, filter=wanted
        )
        self.ask(Method.QUEUE_OPEN, message, done)

    def _receive(self, life: int, handle: int = 0) -> None:
        random = self.world.random
        handle = handle or random.getrandbits(62) + 1
        asked = self.world.facts.leases.told_count
        seeks = self.world.facts.leases.seeks(self._group.name)

        def done(
            answer: Message | None, parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if not self._lives_on(life):
                return
            if isinstance(error, GroupNotFound):
                self._again(life, self._open)
                return
            if error is not None:
                # Whoever waited no more may have been given some: asked again, or left there.
                again = random.random() < 0.7 or self.world.stopped
                kept = handle if again else 0
                self._again(life, lambda of: self._receive(of, kept))
                return
            assert isinstance(answer, leases.MessagesReceived), f"answered by {answer!r}"
            jobs = self._jobs(handle, answer, parts, seeks)
            for job in jobs:
                place = (job.queue, job.offset)
                self.world.facts.leases.given(self._group.name, place, asked)
            if not self.world.stopped and random.random() < self._work.dies:
                self.world.marks["workers died"] += bool(jobs)
                self._lives += 1
                life_now = self._lives
                self._again(life_now, self._receive)
                return
            for job in jobs:
                self.handle(job)
            self._again(life, self._receive)

        message = leases.ReceiveMessages(
            group=self._group.name,
            handle=handle,
            count_max=random.choice((1, 2, 5, 30)),
            wait_ms=random.choice((0, 0, 100, 600)),
            lease_ms=random.choice((0, 0, 1_000, 3_000)),
        )
        self.ask(Method.QUEUE_RECEIVE, message, done)

    def _jobs(
        self, handle: int, answer: leases.MessagesReceived, parts: Sequence[bytes], seeks: int
    ) -> list[Job]:
        """Take in an answer: each body is the one that lies there."""
        payload, position = b"".join(parts), 0
        records = self.world.facts.leases.records
        jobs: list[Job] = []
        for leased in answer.leased:
            data = payload[position : position + leased.length]
            position += leased.length
            found = tuple(Batch(data).records())
            for at, number in enumerate(leased.numbers):
                record = found[at if leased.picked else number]
                job = Job(handle, leased.queue, leased.base_offset + number, record, seeks)
                expected = records[job.queue, job.offset]
                if (record.value, record.key) != (expected.value, expected.key):
                    raise Violation(ONE_PLACE, f"{job} is another record than {expected.value!r}")
                jobs.append(job)
        self.world.marks["messages received"] += len(jobs)
        return jobs

    def handle(self, job: Job) -> None:
        """Work for a while, and settle it."""
        world, random = self.world, self.world.random
        is_slow = not world.stopped and random.random() < self._work.slow
        delay_ms = random.randrange(800, 5_000) if is_slow else random.randrange(300)
        settle = self._draw_end(job)
        if is_slow and random.random() < 0.5:
            world.queue.after(400 * MS_NS, lambda: self.say(*self._extension(job)))
        world.queue.after(delay_ms * MS_NS, settle)
        if not world.stopped and random.random() < self._work.twice:
            late_ms = delay_ms + random.randrange(4_000)
            world.queue.after(late_ms * MS_NS, settle)

    def _draw_end(self, job: Job) -> "Callable[[], None]":
        world, random = self.world, self.world.random
        names = self.names_of(job)
        ack = leases.AckMessages(group=self._group.name, messages=names)
        if world.stopped or random.random() >= self._work.fails:
            return lambda: self.say(Method.QUEUE_ACK, ack, job)
        back = leases.ReturnMessages(
            group=self._group.name,
            messages=names,
            how=random.choice(
                (
                    *(leases.GIVE_BACK_RETRY, leases.GIVE_BACK_RETRY),
                    *(leases.GIVE_BACK_UNTRIED, leases.GIVE_BACK_REJECT),
                )
            ),
            delay_ms=random.choice((None, None, 0, 700)),
            reason="so",
        )
        return lambda: self.say(Method.QUEUE_RETURN, back, job)

    def names_of(self, job: Job) -> list[leases.LeasedMessages]:
        """Return a message as requests name it."""
        return [leases.LeasedMessages(handle=job.handle, queue=job.queue, offsets=[job.offset])]

    def _extension(self, job: Job) -> tuple[Method, Message, Job]:
        message = leases.ExtendLeases(
            group=self._group.name, messages=self.names_of(job), lease_ms=2_000
        )
        return Method.QUEUE_EXTEND, message, job

    def say(self, method: Method, message: Message, job: Job) -> None:
        """Settle a message; say it again until somebody answers."""

        def done(
            _answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            place: Place = (job.queue, job.offset)
            if error is None and method is Method.QUEUE_ACK:
                self.world.marks["acks told"] += 1
                self.world.facts.leases.told_acked(self._group.name, place, job.seeks)
            elif isinstance(error, StaleLease):
                self.world.marks["told of stale leases"] += 1
            elif (
                error is not None
                and (error.retriable or isinstance(error, OutcomeUnknown))
                and not self.world.members_stopped
            ):
                self.world.soon(lambda: self.say(method, message, job))

        self.ask(method, message, done)
