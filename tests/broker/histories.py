"""Random histories: every command there is, about things that mostly exist."""

from collections.abc import Callable, Sequence
from random import Random

from raftlog.base.assignors import ASSIGNORS
from raftlog.base.entry import Entry
from raftlog.base.ids import Offset
from raftlog.base.limits import PRODUCER_FORGOTTEN_MS
from raftlog.broker.claims import NOTHING, ClaimQueue, CommitOffsets, SeekGroup
from raftlog.broker.codec import CommandValue, write_command
from raftlog.broker.commands import Command, CommandType
from raftlog.broker.dead_letters import dead_letter_parts
from raftlog.broker.delays import CancelDelayed, Delay
from raftlog.broker.flights import BLOCKED, Flight
from raftlog.broker.group_commands import (
    DeleteGroup,
    JoinGroup,
    LeaveGroup,
    SetSubscription,
)
from raftlog.broker.groups import Member
from raftlog.broker.index import Posting
from raftlog.broker.lease_commands import (
    AckMessages,
    DecideBlocked,
    ExtendLeases,
    ReturnMessages,
)
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.message_types import AlterTypedTopic, CreateTypedTopic
from raftlog.broker.producers import FenceProducer, InitProducer
from raftlog.broker.quotas import RemoveQuota, SetQuota
from raftlog.broker.relocations import Moving, relocate_command
from raftlog.broker.shares import ReleaseQueues, Share
from raftlog.broker.survivors import Copying, copy_command
from raftlog.broker.topics import (
    AlterTopic,
    CreateTopic,
    DeleteTopic,
    MoveConsumed,
    MoveStart,
    TopicChanges,
)
from raftlog.broker.transactions import (
    AnswerChecks,
    CheckAnswer,
    Decide,
    ResolveTransaction,
    Transaction,
)
from raftlog.broker.transactors import InitTransactor, Transactor, number_of
from raftlog.broker.trims import Trim
from raftlog.wire.batch import Producer
from raftlog.wire.filters import RecordFilter
from tests.broker.atomic_histories import some_atomic, some_commit, some_stage
from tests.broker.lease_histories import (
    some_opening,
    some_receive,
    some_seek,
    some_subscribing,
)
from tests.broker.logs import FIRST, batch_of, delayed, entry_of, half, once, sent

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NAMES = [f"t{number}" for number in range(4)]
KEPT = "kept"
"""A topic of one queue that is made first and never deleted: something always gets through."""
GROUPS = [f"g{number}" for number in range(3)]
QUEUE_GROUPS = [f"q{number}" for number in range(3)]
MEMBERS = [f"m{number}" for number in range(4)]
PRODUCERS = [number << 16 for number in range(1, 4)]
KINDS = [int(kind) for kind in CommandType if kind is not CommandType.APPEND_BATCH]


class History:
    """Makes entries one by one, looking at a machine that has applied those before."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.machine = BrokerMachine()
        self.entries: list[Entry] = []
        self.outcomes: list[list[object]] = []
        self.log_time_ms = 0
        self._apply([write_command(CreateTopic(KEPT, TopicChanges(queues=1)))])
        self._makers: list[Callable[[], Command | CommandValue]] = [
            *[self._append] * 12,
            *[self._append_once] * 4,
            *[self._create, self._alter, self._delete, self._move],
            *[InitProducer, self._fence, self._fence, self._garbage],
            *[self._join] * 3,
            *[self._leave] * 4,
            *[self._delete_group] * 3,
            *[self._subscribe] * 2,
            *[self._claim] * 3,
            *[self._release] * 2,
            *[self._commit] * 5,
            self._seek,
            *[self._open] * 4,
            *[self._receive] * 5,
            self._seek_queue_group,
            *[self._ack] * 4,
            *[self._extend, self._give_back, self._give_back, self._bury, self._settle_blocked],
            *[self._delay] * 6,
            *[self._cancel] * 2,
            *[self._relocate] * 2,
            *[self._copy_forward] * 2,
            *[self._trim] * 2,
            *[self._init_transactor, *[self._resolve] * 3],
            *[self._half] * 6,
            *[self._decide] * 6,
            *[self._answer] * 2,
            *[self._atomic] * 4,
            *[self._stage] * 6,
            *[self._commit_staged] * 4,
        ]

    def run(self, entries: int) -> "History":
        """Go on for so many entries."""
        for _ in range(entries):
            self.log_time_ms += self.random.choice((0, 1, 50, PRODUCER_FORGOTTEN_MS // 40))
            made = [self.random.choice(self._makers)() for _ in range(self.random.randrange(5))]
            commands = [
                command if isinstance(command, Command) else write_command(command)
                for command in made
            ]
            self._apply(commands)
        return self

    def _apply(self, commands: Sequence[Command]) -> None:
        entry = entry_of(len(self.entries) + 1, *commands, log_time_ms=self.log_time_ms)
        self.entries.append(entry)
        self.outcomes.append(list(self.machine.apply(entry)))

    def _queue(self) -> int:
        numbers = [*self.machine.queues.table.rows, self.machine.queues.next_number]
        return self.random.choice([FIRST, self.random.choice(numbers)])

    def _append(self) -> Command:
        queue, producer = self._queue(), self.random.choice([0, *PRODUCERS])
        row = self.machine.producers.table.get((queue, producer))
        if row is None:
            return sent(queue, producer, self.random.choice((0, 0, 0, 1)), epoch=1)
        if row.remembered and self.random.random() < 0.3:
            again = self.random.choice(row.remembered)
            return sent(queue, producer, again.base_sequence, again.count, epoch=row.epoch)
        if row.next_sequence and self.random.random() < 0.2:
            sequence = self.random.randrange(row.next_sequence)
            return sent(queue, producer, sequence, self.random.randrange(1, 4), epoch=row.epoch)
        return sent(
            *(queue, producer, row.next_sequence + self.random.choice((0, 0, 0, 0, 2))),
            self.random.randrange(1, 4),
            epoch=row.epoch + self.random.choice((0, 0, 0, 0, -1, 1)),
            known=self.random.randrange(row.next_sequence + 2),
            fifo=self.random.random() < 0.3,
        )

    def _atomic(self) -> Command:
        producer = self.random.choice(PRODUCERS)
        queues = {self._queue(): None, self._queue(): None}
        offsets, acks = [], []
        if self.random.random() < 0.5:
            command = self._commit()
            assert isinstance(command, CommitOffsets)
            offsets.append(command)
        if self.random.random() < 0.3:
            command = self._ack()
            assert isinstance(command, AckMessages)
            acks.append(command)
        return some_atomic(self.random, self.machine, producer, queues, offsets, acks)

    def _stage(self) -> Command:
        producer = self.random.choice(PRODUCERS)
        return some_stage(self.random, self.machine, producer, self._queue())

    def _commit_staged(self) -> Command:
        producer = self.random.choice(PRODUCERS)
        return some_commit(self.random, self.machine, producer) or self._atomic()

    def _append_once(self) -> Command:
        """A record with one of a few ids; of a producer whose sequence is good, mostly."""
        queue, producer = self._queue(), self.random.choice([0, *PRODUCERS])
        id_ = f"id-{self.random.randrange(12)}"
        row = self.machine.producers.table.get((queue, producer))
        if row is None:
            return once(queue, id_, producer, epoch=1)
        sequence = row.next_sequence - self.random.choice((0, 0, 0, 1))
        return once(queue, id_, producer, max(0, sequence), epoch=row.epoch)

    def _fence(self) -> CommandValue:
        rows = list(self.machine.producers.table.rows.values())
        if not rows or self.random.random() < 0.2:
            return FenceProducer(self._queue(), self.random.choice(PRODUCERS), 2)
        row = self.random.choice(rows)
        epoch = max(1, row.epoch + self.random.choice((-1, 0, 1)))
        return FenceProducer(row.queue, row.producer, epoch)

    def _changes(self) -> TopicChanges:
        return TopicChanges(
            queues=self.random.choice((None, 1, 2, 3, 5)),
            retention_ms=self.random.choice((None, 7)),
            writable=self.random.choice((None, True, True, False)),
            until_consumed=self.random.choice((None, True, False)),
            id_window_ms=self.random.choice((None, None, 0, 100, PRODUCER_FORGOTTEN_MS // 20)),
            readable=self.random.choice((None, True, False)),
        )

    def _name(self) -> str:
        return self.random.choice(NAMES)

    def _create(self) -> CommandValue:
        if self.random.random() < 0.5:
            return CreateTypedTopic(self._name(), self._changes(), self._types())
        return CreateTopic(self._name(), self._changes())

    def _alter(self) -> CommandValue:
        if self.random.random() < 0.5:
            return AlterTypedTopic(self._name(), self._changes(), self._types())
        return AlterTopic(self._name(), self._changes())

    def _types(self) -> int:
        """Mostly most of them: what nothing can be sent to teaches nothing."""
        return self.random.choice((2, 5, 7, 11, 13, 14, 15))

    def _delete(self) -> CommandValue:
        return DeleteTopic(self._name())

    def _move(self) -> CommandValue:
        return MoveStart(self._queue(), self.random.randrange(20))

    def _move_consumed(self) -> CommandValue:
        return MoveConsumed(self._queue(), self.random.randrange(20))

    def _quota(self) -> CommandValue:
        kind = self.random.choice(("client", "topic"))
        name = self._name() if kind == "topic" else self._member()
        if self.random.random() < 0.3:
            return RemoveQuota(kind, name)
        return SetQuota(kind, name, self.random.randrange(3), 1)

    def _join(self) -> CommandValue:
        name = self._group()
        group = self.machine.groups.get(name)
        if group is not None and self.random.random() < 0.8:
            known = group.subscription
            return JoinGroup(
                *(name, self._member(), known.topics, 1_000, "", known.wanted),
                life=self._life(),
            )
        assignor = self.random.choice(("", *ASSIGNORS))
        return JoinGroup(
            *(name, self._member(), self._topics(), 1_000), assignor=assignor, life=self._life()
        )

    def _life(self) -> int:
        return self.random.choice((0, 0, 0, 1, 2))

    def _topics(self) -> tuple[str, ...]:
        return tuple(self.random.sample([*NAMES, KEPT], self.random.randrange(1, 3)))

    def _subscribe(self) -> CommandValue:
        name = self._group()
        group = self.machine.groups.get(name)
        version = 0 if group is None else group.subscription.version
        wanted = RecordFilter((), self.random.choice(("", "x = 1")))
        return SetSubscription(
            *(name, self._topics(), wanted, self.random.choice((0, version, version + 1))),
            self.random.choice(("", *ASSIGNORS)),
        )

    def _leave(self) -> CommandValue:
        member = self._some_member()
        return LeaveGroup(member.group, member.id, life=self.random.choice((0, member.life)))

    def _some_member(self) -> Member:
        members = list(self.machine.groups.members.rows.values())
        if not members:
            return Member(self._group(), self._member(), 1_000, "")
        return self.random.choice(members)

    def _release(self) -> CommandValue:
        """Mostly one that was revoked."""
        rows = list(self.machine.groups.shares.table.rows.values())
        row = self.random.choice(rows) if rows else Share(self._group(), FIRST, "m", 1)
        member = self.machine.groups.members.get((row.group, row.owner))
        revoked = max(0, row.revoked + self.random.choice((0, 0, 0, -1)))
        life = 0 if member is None else member.life
        return ReleaseQueues(row.group, row.owner, ((row.queue, revoked),), life)

    def _delete_group(self) -> CommandValue:
        return DeleteGroup(self.random.choice([*GROUPS, *QUEUE_GROUPS[:1]]))

    def _group(self) -> str:
        return self.random.choice(GROUPS)

    def _member(self) -> str:
        return self.random.choice(MEMBERS)

    def _generation(self, group: str) -> int:
        found = self.machine.groups.get(group)
        generation = 1 if found is None else found.generation
        return max(0, generation + self.random.choice((0, 0, 0, -1, 1)))

    def _claim(self) -> CommandValue:
        member = self._some_member()
        group = self.machine.groups.get(member.group)
        life = self.random.choice((0, member.life, member.life))
        is_member = group is not None and member.id in group.members
        if group is not None and is_member and self.random.random() < 0.7:  # one of its own
            assigned = group.assignment(member.id).queues
            if assigned:
                queue = self.random.choice(assigned)
                return ClaimQueue(group.name, queue.queue, queue.since, member.id, life)
        generation = self._generation(member.group)
        return ClaimQueue(member.group, self._queue(), generation, self._member(), life)

    def _commit(self) -> CommandValue:
        claims = list(self.machine.claims.table.rows.values())
        if not claims:
            return CommitOffsets(self._group(), self._member(), 1, ((FIRST, 0),), 0, (NOTHING,))
        claim = self.random.choice(claims)
        offset = max(0, (claim.committed or 0) + self.random.choice((0, 1, 2, -1, -1)))
        member = claim.member or self._member()
        life = self.random.choice((0, claim.life, claim.life))
        committed = NOTHING if claim.committed is None else claim.committed
        read_from = self.random.choice((None, None, committed, committed, committed - 1))
        said = () if read_from is None else (min(max(NOTHING, read_from), offset - 1),)
        return CommitOffsets(
            *(claim.group, member, claim.generation, ((claim.queue, offset),), life, said)
        )

    def _seek(self) -> CommandValue:
        queue = self.machine.queues.get(self._queue())
        if queue is None:
            return SeekGroup(self._group(), ((99, 0),))
        offset = self.random.randrange(queue.start_offset, queue.end_offset + 1)
        return SeekGroup(self._group(), ((queue.number, offset),))

    # -- queue-style groups

    def _open(self) -> CommandValue:
        group = self.random.choice([*QUEUE_GROUPS] * 8 + GROUPS)
        names = [*NAMES, KEPT]
        if self.random.random() < 0.3:
            return some_opening(self.random, group, names)
        return some_subscribing(self.random, self.machine, group, names)

    def _queue_group(self) -> str:
        return self.random.choice(QUEUE_GROUPS)

    def _receive(self) -> CommandValue:
        return some_receive(self.random, self.machine, self._queue_group())

    def _seek_queue_group(self) -> CommandValue:
        return some_seek(self.random, self.machine, self._queue_group())

    def _flight(self) -> Flight:
        rows = list(self.machine.leasing.flights.table.rows.values())
        if not rows or self.random.random() < 0.1:
            return Flight(0, FIRST, self.random.randrange(9), 1, 0, 7)
        return self.random.choice(rows)

    def _names(self) -> tuple[str, tuple[tuple[int, int, tuple[int, ...]], ...]]:
        row = self._flight()
        group = self.machine.leasing.groups.numbered(row.group)
        handle = max(1, row.handle + self.random.choice((0, 0, 0, 0, 1)))
        more = () if self.random.random() < 0.7 else (self.random.randrange(9),)
        name = self._queue_group() if group is None else group.name
        return name, ((handle, row.queue, (row.offset, *more)),)

    def _ack(self) -> CommandValue:
        return AckMessages(*self._names())

    def _extend(self) -> CommandValue:
        return ExtendLeases(*self._names(), self.random.choice((1_000, 2_000_000)))

    def _give_back(self) -> CommandValue:
        how = self.random.randrange(3)
        return ReturnMessages(*self._names(), how, self.random.choice((-1, 0, 9)), "so")

    def _bury(self) -> Command:
        dead = sorted(self.machine.leasing.flights.dead) or [(0, 1, 1)]
        parts = dead_letter_parts(*self.random.choice(dead), batch_of(b"dead"))
        return Command(CommandType.DEAD_LETTER, parts)

    def _settle_blocked(self) -> CommandValue:
        rows = self.machine.leasing.flights.table.rows.values()
        blocked = [row for row in rows if row.handle == BLOCKED]
        row = self.random.choice(blocked) if blocked else self._flight()
        group = self.machine.leasing.groups.numbered(row.group)
        name = self._queue_group() if group is None else group.name
        return DecideBlocked(name, row.queue, row.offset, self.random.randrange(3))

    def _delay(self) -> Command:
        ms = self.random.choice((0, 1, 60, 5 * HOUR_MS, 5 * HOUR_MS, 72 * HOUR_MS, 41 * DAY_MS))
        relative = self.random.random() < 0.5
        delay = Delay(ms if relative else self.log_time_ms + ms, relative)
        queue, producer = self._queue(), self.random.choice([0, *PRODUCERS])
        row = self.machine.producers.table.get((queue, producer))
        if row is None:
            return delayed(delay, queue)
        if row.remembered and self.random.random() < 0.3:
            again = self.random.choice(row.remembered)
            by = Producer(producer, row.epoch, again.base_sequence)
            return delayed(delay, queue, [b"v"] * again.count, by)
        sequence = row.next_sequence + self.random.choice((0, 0, 0, 0, 2))
        known = self.random.randrange(row.next_sequence + 2)
        values = [b"v"] * self.random.randrange(1, 4)
        return delayed(delay, queue, values, Producer(producer, row.epoch, sequence, known))

    def _cancel(self) -> CommandValue:
        rows = list(self.machine.state.hidden.table.rows.values())
        gone = list(self.machine.state.delays.cancelled.table.rows.values())
        if gone and self.random.random() < 0.3:
            row = self.random.choice(gone)
            return CancelDelayed(row.queue, row.id, row.due_ms)
        if not rows or self.random.random() < 0.3:
            at = self.random.randrange(1, len(self.entries) + 1)
            due_ms = max(0, self.log_time_ms - self.random.choice((0, 1, HOUR_MS)))
            return CancelDelayed(self._queue(), at << 16, due_ms)
        found = self.random.choice(rows)
        return CancelDelayed(found.queue, found.id, found.held)

    def _relocate(self) -> Command:
        rows = list(self.machine.state.hidden.table.rows.values())
        some = self.random.sample(rows, min(len(rows), self.random.randrange(4)))
        moving = [
            Moving(row.key, row.index, row.position + self.random.choice((0, 0, 1)), row.length)
            for row in some
        ]
        return relocate_command(moving, [bytes(each.length) for each in moving])

    def _copy_forward(self) -> Command:
        """Copy what a queue needs next, or survivors again, or something else."""
        queue = self.machine.queues.get(self._queue())
        postings = None if queue is None else self.machine.open_postings(queue.number)
        rows = self.random.sample(
            list(self.machine.survivors.table.rows.values()),
            min(len(self.machine.survivors), self.random.randrange(3)),
        )
        items = [
            Copying(
                row.queue,
                Posting(
                    *(Offset(row.base_offset), row.count, row.log_time_ms, row.record_time_ms),
                    *(row.index, row.position + self.random.choice((0, 0, 1)), row.length),
                ),
            )
            for row in rows
        ]
        if queue is not None and postings is not None:
            through = self.machine.survivors.copied_through(queue.number)
            begin = self.random.choice((max(queue.start_offset, through), postings.base_offset))
            if postings.base_offset <= begin < postings.end_offset:
                first = postings.find(Offset(begin))
                after = min(len(postings), first + self.random.randrange(1, 4))
                items += [Copying(queue.number, postings[at]) for at in range(first, after)]
        return copy_command(items, [bytes(item.posting.length) for item in items])

    def _trim(self) -> CommandValue:
        free, _ = self.machine.free_through()
        return Trim(free + self.random.choice((0, 0, 0, 1)))

    def _init_transactor(self) -> CommandValue:
        return InitTransactor(self._member(), self._group())

    def _transactor(self) -> Transactor:
        rows = list(self.machine.state.transactors.table.rows.values())
        return self.random.choice([*rows, Transactor(99, 99, "nobody", "g0", 1, 0, finished=[])])

    def _number(self, owner: Transactor) -> int:
        """One that was used, is next, or skips a few."""
        return max(1, owner.next_number + self.random.choice((0, 0, 0, 2, -1, -1, -2, -5, -20)))

    def _open_one(self) -> tuple[Transactor, Transaction] | None:
        rows = list(self.machine.state.transactions.table.rows.values())
        if not rows:
            return None
        row = self.random.choice(rows)
        return self.machine.state.transactors.of(row.handle), row

    def _half(self) -> Command:
        owner = self._transactor()
        epoch = max(0, owner.epoch + self.random.choice((0, 0, 0, 0, 0, -1, 1)))
        values = [b"v"] * self.random.randrange(1, 4)
        return half(owner.id, self._number(owner), epoch, self._queue(), values)

    def _decide(self) -> CommandValue:
        owner = self._transactor()
        found = [
            number_of(row.handle)
            for row in self.machine.state.transactions.table.rows.values()
            if owner.id != 99 and self.machine.state.transactors.of(row.handle) is owner
        ]
        numbers = [self.random.choice([self._number(owner), *found]) for _ in range(3)]
        epoch = max(0, owner.epoch + self.random.choice((0, 0, 0, 0, 0, -1, 1)))
        items = tuple((number, self.random.choice((1, 2))) for number in numbers)
        return Decide(owner.id, epoch, items)

    def _resolve(self) -> CommandValue:
        found = self._open_one()
        verdict = self.random.choice((1, 2))
        if found is None or self.random.random() < 0.3:
            owner = self._transactor()
            return ResolveTransaction(owner.id, self._number(owner), verdict)
        return ResolveTransaction(found[0].id, number_of(found[1].handle), verdict)

    def _answer(self) -> CommandValue:
        found = self._open_one()
        if found is None:
            owner = self._transactor()
            return AnswerChecks(self._group(), (CheckAnswer(owner.id, 1, 1, 0),))
        owner, row = found
        group = self.random.choice((owner.group, owner.group, owner.group, self._group()))
        verdict = self.random.choice((0, 0, 0, 0, 1, 2))
        items = [
            CheckAnswer(owner.id, number_of(row.handle), row.checks + more, verdict)
            for more in self.random.choice(((1,), (0,), (1, 1, 2), range(1, 16)))
        ]
        return AnswerChecks(group, tuple(items))

    def _garbage(self) -> Command:
        """Bytes that no client makes: damaged commands, and noise."""
        kind = self.random.choice(KINDS)
        return Command(kind, (self.random.randbytes(self.random.randrange(12)),))
