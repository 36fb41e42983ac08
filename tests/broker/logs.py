"""Logs for the machine: entries from commands, and a machine that is fed by hand."""

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from raftlog.base.entry import CHAIN_ORIGIN, Entry, EntryKind, seal
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Index, Offset, Term
from raftlog.broker.appends import Appended, append_parts
from raftlog.broker.atomic_commands import TransactionHead, transaction_parts
from raftlog.broker.claims import CommitOffsets
from raftlog.broker.codec import CommandValue, write_command
from raftlog.broker.commands import Command, CommandType, envelope
from raftlog.broker.delays import Delay, delayed_parts
from raftlog.broker.lease_commands import AckMessages
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.refusals import CommandRefused
from raftlog.broker.staging import stage_command
from raftlog.broker.topics import CreateTopic, Topic, TopicChanges
from raftlog.broker.transactions import half_parts
from raftlog.wire.batch import ANONYMOUS, Producer, encode_columns

TERM = Term(2)
FIRST = 1
"""The number of the first queue that a log opens."""


def batch_of(*values: bytes, timestamp_ms: int = 5) -> bytes:
    return encode_columns(values, timestamp_ms=timestamp_ms)


def append(batch: bytes, queue: int = FIRST) -> Command:
    return Command(CommandType.APPEND_BATCH, append_parts(queue, batch))


def delayed(
    delay: Delay,
    queue: int = FIRST,
    values: Sequence[bytes] = (b"later",),
    by: Producer = ANONYMOUS,
) -> Command:
    """An append that becomes visible later."""
    batch = encode_columns(values, timestamp_ms=5, producer=by)
    return Command(CommandType.APPEND_DELAYED, delayed_parts(queue, delay, batch))


def half(
    transactor: int,
    number: int,
    epoch: int = 1,
    queue: int = FIRST,
    values: Sequence[bytes] = (b"half",),
) -> Command:
    """A message that is visible when its transaction is committed."""
    batch = encode_columns(values, timestamp_ms=5)
    return Command(CommandType.STAGE_HALF, half_parts(transactor, number, epoch, queue, batch))


def sent(
    queue: int,
    producer: int,
    sequence: int,
    count: int = 1,
    *,
    epoch: int = 0,
    known: int = 0,
    fifo: bool = False,
) -> Command:
    """An append of an idempotent producer; ``fifo``: of records with a FIFO key."""
    by = Producer(producer, epoch, sequence, known)
    keys = [b"k"] * count if fifo else None
    return append(
        encode_columns([b"v"] * count, keys, timestamp_ms=5, producer=by, fifo=fifo), queue
    )


def atomic(
    *parts: tuple[int, Producer, int],
    offsets: Sequence[CommitOffsets] = (),
    acks: Sequence[AckMessages] = (),
    staged: Sequence[tuple[int, int]] = (),
) -> Command:
    """A transaction: for each part the queue, who sends, and how many records."""
    batches = [
        encode_columns([b"v"] * count, timestamp_ms=5, producer=by) for _, by, count in parts
    ]
    lengths = tuple(
        (queue, len(batch)) for (queue, _, _), batch in zip(parts, batches, strict=True)
    )
    head = TransactionHead(lengths, tuple(offsets), tuple(acks), tuple(staged))
    return Command(CommandType.COMMIT_TRANSACTION, transaction_parts(head, batches))


def staged(queue: int, by: Producer, count: int = 1) -> Command:
    """A batch that a transaction will name."""
    batch = encode_columns([b"s"] * count, timestamp_ms=5, producer=by)
    return stage_command(queue, batch)


def once(
    queue: int, id_: str, producer: int = 0, sequence: int = 0, *, epoch: int = 0, known: int = 0
) -> Command:
    """An append of one record with a business id."""
    by = Producer(producer, epoch, sequence, known)
    batch = encode_columns([id_.encode()], timestamp_ms=5, producer=by, id_=id_)
    return Command(CommandType.APPEND_ONCE, append_parts(queue, batch))


def entry_of(
    at: int,
    *commands: Command,
    log_time_ms: int | None = None,
    term: Term = TERM,
    level: int | None = None,
) -> Entry:
    body = envelope(at if log_time_ms is None else log_time_ms, commands, level)
    return seal(EntryKind.COMMANDS, term, Index(at), CHAIN_ORIGIN, body)


def stored_at(offset: int, count: int, at: int, *, duplicate: bool = False) -> Appended:
    return Appended(Offset(offset), count, TERM, Index(at), duplicate)


def opening() -> Entry:
    """Entry 1: a topic of one queue, ``FIRST``."""
    return entry_of(1, write_command(CreateTopic("orders", TopicChanges(queues=1))))


def log_of(*groups: Sequence[Command]) -> list[Entry]:
    """The opening, and an entry for each group: the first one is entry 2."""
    return [opening(), *(entry_of(at, *group) for at, group in enumerate(groups, start=2))]


def applied(entries: Iterable[Entry]) -> BrokerMachine:
    machine = BrokerMachine()
    for entry in entries:
        machine.apply(entry)
    return machine


def tables_of(machine: BrokerMachine) -> str:
    """Return a name for everything that commands change, but for what counts entries."""
    state = hashlib.blake2b(msgspec.msgpack.encode(machine.state.facts))
    for _, table in machine.state.tables:
        table.digest(state)
    return state.hexdigest()


class Shard:
    """A machine, and one entry for each call. Log time stands still unless a test moves it.

    ``level`` is what entries are stamped with; None: the highest feature level.
    """

    def __init__(self, level: int | None = None) -> None:
        self.level = level
        self.machine = BrokerMachine()
        self.entries: list[Entry] = []
        self.log_time_ms = 1_000
        self.term = self.machine.state.term = TERM  # it is no new leader's first entry

    def all_of(self, *commands: CommandValue | Command) -> list[object]:
        """Apply one entry with these commands; return what each came to, or its error."""
        raw = [
            command if isinstance(command, Command) else write_command(command)
            for command in commands
        ]
        at, time_ms = len(self.entries) + 1, self.log_time_ms
        entry = entry_of(at, *raw, log_time_ms=time_ms, term=self.term, level=self.level)
        self.entries.append(entry)
        return [
            outcome.error if isinstance(outcome, CommandRefused) else outcome
            for outcome in self.machine.apply(entry)
        ]

    def __call__(self, command: CommandValue | Command) -> object:
        """Apply one command; return what it came to, or its error."""
        (outcome,) = self.all_of(command)
        return outcome

    def refusal(self, command: CommandValue | Command) -> type[RaftlogError]:
        """Apply a command that is refused, and see that nothing else changed."""
        before = tables_of(self.machine)
        (outcome,) = self.all_of(command)
        assert isinstance(outcome, RaftlogError), outcome
        assert outcome.__traceback__ is None, "an outcome holds no frames"
        assert tables_of(self.machine) == before, "a refusal changed something"
        return type(outcome)

    def topic(self, name: str = "orders", queues: int = 1) -> tuple[int, ...]:
        """Make a topic; return the numbers of its queues."""
        made = self(CreateTopic(name, TopicChanges(queues=queues)))
        assert isinstance(made, Topic), made
        return made.queues
