"""Commands beside appends: what is malformed never reaches the log."""

from collections.abc import Callable

import msgspec
import pytest

from raftlog.base.errors import BadName, BadRequest, RaftlogError, Refused
from raftlog.base.limits import GROUP_TOPICS_MAX, OFFSETS_PER_COMMAND_MAX, SESSION_MS_MAX
from raftlog.broker.claims import ClaimQueue, CommitOffsets, SeekGroup
from raftlog.broker.codec import CommandValue, read_command, write_command
from raftlog.broker.commands import CommandType
from raftlog.broker.delays import CancelDelayed
from raftlog.broker.group_commands import (
    DeleteGroup,
    JoinGroup,
    LeaveGroup,
    SetSubscription,
)
from raftlog.broker.lease_commands import (
    AckMessages,
    DecideBlocked,
    ExtendLeases,
    ReceiveMatching,
    ReceiveMessages,
    ReturnMessages,
)
from raftlog.broker.message_types import AlterTypedTopic, CreateTypedTopic
from raftlog.broker.producers import FenceProducer, InitProducer
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroupChanges
from raftlog.broker.queue_seeks import SeekQueueGroup
from raftlog.broker.queue_subscriptions import SubscribeQueueGroup
from raftlog.broker.quotas import RemoveQuota, SetQuota
from raftlog.broker.shares import ReleaseQueues
from raftlog.broker.timetable import PassTime
from raftlog.broker.topics import (
    AlterTopic,
    CreateTopic,
    DeleteTopic,
    MoveConsumed,
    MoveStart,
    TopicChanges,
)
from raftlog.broker.transactions import AnswerChecks, CheckAnswer, Decide, ResolveTransaction
from raftlog.broker.transactors import InitTransactor
from raftlog.broker.trims import Trim
from raftlog.wire.filters import RecordFilter

HELD = ((7, 1, (5, 6)),)
GOOD: list[CommandValue] = [
    CreateTopic("t", TopicChanges(queues=1, retention_ms=0)),
    AlterTopic("t", TopicChanges(readable=False)),
    CreateTypedTopic("t", TopicChanges(queues=1), 3),
    AlterTypedTopic("t", TopicChanges(), 15),
    DeleteTopic("t"),
    MoveStart(1, 5),
    InitProducer(),
    FenceProducer(0, 1 << 16, 1),
    JoinGroup("g", "m", ("t", "u"), 1_000, "café", RecordFilter(("a",), "x = 1")),
    JoinGroup("g", "m", ("t",), 1_000, assignor="sticky", life=7),
    SetSubscription("g", ("t", "u"), RecordFilter(("a",), "x = 1"), 3, "cooperative"),
    ReleaseQueues("g", "m", ((1, 5), (2, 6)), 7),
    LeaveGroup("g", "m", expired=True),
    DeleteGroup("g"),
    ClaimQueue("g", 1, 3, "m"),
    CommitOffsets("g", "m", 3, ((1, 5), (2, 0))),
    CommitOffsets("g", "m", 3, ((1, 5), (2, 0), (3, 1)), 7, (4, -1, None)),
    SeekGroup("g", ((1, 5),)),
    Trim(7),
    PassTime(),
    OpenQueueGroup("g", ("t",), QueueGroupChanges(retry_ms=(0, 5), fifo=True), from_end=True),
    ReceiveMessages("g", 7, 10, 5_000, ((1, 5, (0, (1 << 64) - 1)),)),
    AckMessages("g", HELD),
    ExtendLeases("g", HELD, 5_000),
    ReturnMessages("g", HELD, 1, 0, "why"),
    DecideBlocked("g", 1, 5, 2),
    SubscribeQueueGroup("g", ("t",), QueueGroupChanges(), False, RecordFilter(("a",)), 3, 1),
    SeekQueueGroup("g", ((1, 5), (2, 0))),
    ReceiveMatching("g", 7, 10, None, (), 3, ((1, 5, 9, (5, 8)),)),
    SetQuota("client", "*", 5, 6),
    RemoveQuota("topic", "t"),
    MoveConsumed(1, 5),
    CancelDelayed(1, 5 << 16, 1_000),
    InitTransactor("billing", "payments"),
    Decide(1 << 16, 1, ((1, 1), (2, 2))),
    ResolveTransaction(1 << 16, 1, 2),
    AnswerChecks("payments", (CheckAnswer(1 << 16, 1, 1, 0),)),
]


@pytest.mark.parametrize("value", GOOD, ids=lambda value: type(value).__name__)
def test_a_command_reads_back_as_it_was(value: CommandValue) -> None:
    """What is proposed and what is applied must be one thing."""
    command = write_command(value)
    (data,) = command.parts
    assert read_command(command.type, data) == value


def test_a_commit_of_before_does_not_say_from_where_it_was_read() -> None:
    """A log has commands of feature level 2; so has a transaction that was proposed then."""
    before = msgspec.msgpack.encode(("g", "m", 3, ((1, 5),), 7))
    assert read_command(CommandType.COMMIT_OFFSETS, before) == CommitOffsets(
        *("g", "m", 3, ((1, 5),), 7)
    )


def test_every_command_has_a_value() -> None:
    """A type without one would be refused in apply for ever."""
    batches = {CommandType.APPEND_BATCH, CommandType.APPEND_DELAYED, CommandType.RELOCATE}
    batches |= {CommandType.STAGE_HALF, CommandType.APPEND_ONCE, CommandType.DEAD_LETTER}
    batches |= {CommandType.COMMIT_TRANSACTION, CommandType.STAGE_BATCH}
    batches |= {CommandType.COPY_FORWARD}
    others = {*batches, CommandType.RAW}
    assert {write_command(value).type for value in GOOD} == set(CommandType) - others


BAD: dict[str, tuple[Callable[[], CommandValue], type[RaftlogError]]] = {
    "a transactor without a name": (lambda: InitTransactor("", "g"), BadName),
    "a transactor with a system name": (lambda: InitTransactor("%t", "g"), BadName),
    "transaction 0": (lambda: Decide(1, 1, ((0, 1),)), BadRequest),
    "no such verdict": (lambda: ResolveTransaction(1, 1, 3), BadRequest),
    "a topic without queues": (lambda: CreateTopic("t", TopicChanges(queues=0)), BadRequest),
    "negative retention": (lambda: AlterTopic("t", TopicChanges(retention_ms=-1)), BadRequest),
    "a long name": (lambda: DeleteTopic("t" * 128), BadRequest),
    "a system name": (lambda: CreateTopic("%log", TopicChanges()), BadName),
    "a negative queue": (lambda: MoveStart(-1, 5), BadRequest),
    "a huge queue": (lambda: MoveStart(1 << 32, 5), BadRequest),
    "nobody's fence": (lambda: FenceProducer(0, 0, 1), BadRequest),
    "a fence of nothing": (lambda: FenceProducer(0, 1, 0), BadRequest),
    "no topics": (lambda: JoinGroup("g", "m", (), 1_000), BadRequest),
    "too many topics": (
        lambda: JoinGroup("g", "m", tuple(map(str, range(GROUP_TOPICS_MAX + 1))), 1_000),
        BadRequest,
    ),
    "a topic twice": (lambda: SetSubscription("g", ("t", "t")), BadRequest),
    "no assignor": (lambda: JoinGroup("g", "m", ("t",), 1_000, assignor="best"), BadRequest),
    "a new assignor that is none": (
        lambda: SetSubscription("g", ("t",), assignor="Range"),
        BadRequest,
    ),
    "a queue released twice": (lambda: ReleaseQueues("g", "m", ((1, 5), (1, 6))), BadRequest),
    "nothing released": (lambda: ReleaseQueues("g", "m", ()), BadRequest),
    "a long filter": (
        lambda: SetSubscription("g", ("t",), RecordFilter((), "x" * 1025)),
        BadRequest,
    ),
    "a short session": (lambda: JoinGroup("g", "m", ("t",), 999), BadRequest),
    "a long session": (lambda: JoinGroup("g", "m", ("t",), SESSION_MS_MAX + 1), BadRequest),
    "a long client": (lambda: JoinGroup("g", "m", ("t",), 1_000, "c" * 128), BadRequest),
    "a negative generation": (lambda: ClaimQueue("g", 1, -1, "m"), BadRequest),
    "no offsets": (lambda: CommitOffsets("g", "m", 1, ()), BadRequest),
    "some offsets read from somewhere": (
        lambda: CommitOffsets("g", "m", 1, ((1, 5), (2, 5)), 0, (4,)),
        BadRequest,
    ),
    "nothing read": (lambda: CommitOffsets("g", "m", 1, ((1, 5),), 0, (5,)), BadRequest),
    "read from before all": (lambda: CommitOffsets("g", "m", 1, ((1, 5),), 0, (-2,)), BadRequest),
    "a negative offset": (lambda: SeekGroup("g", ((1, -1),)), BadRequest),
    "too many offsets": (
        lambda: SeekGroup("g", tuple((at, 0) for at in range(OFFSETS_PER_COMMAND_MAX + 1))),
        BadRequest,
    ),
    "a group whose dead letters had no name": (
        lambda: OpenQueueGroup("g" * 123, ("t",), QueueGroupChanges()),
        BadName,
    ),
    "a queue-style group with a topic twice": (
        lambda: OpenQueueGroup("g", ("t", "t"), QueueGroupChanges()),
        BadRequest,
    ),
    "no attempts": (
        lambda: OpenQueueGroup("g", ("t",), QueueGroupChanges(attempts_max=0)),
        BadRequest,
    ),
    "no schedule": (
        lambda: OpenQueueGroup("g", ("t",), QueueGroupChanges(retry_ms=())),
        BadRequest,
    ),
    "another policy": (
        lambda: OpenQueueGroup("g", ("t",), QueueGroupChanges(poison=3)),
        BadRequest,
    ),
    "nobody's lease": (lambda: ReceiveMessages("g", 0, 10), BadRequest),
    "nothing to lease": (lambda: ReceiveMessages("g", 1, 0), BadRequest),
    "too much to lease": (lambda: ReceiveMessages("g", 1, 1_001), BadRequest),
    "a group that is to read nothing": (
        lambda: SubscribeQueueGroup("g", (), QueueGroupChanges(), by=2),
        BadRequest,
    ),
    "a seek of no queue": (lambda: SeekQueueGroup("g", ()), BadRequest),
    "a seek to two places": (lambda: SeekQueueGroup("g", ((1, 1), (1, 2))), BadRequest),
    "matches out of order": (
        lambda: ReceiveMatching("g", 1, 1, None, (), 1, ((1, 0, 9, (4, 4)),)),
        BadRequest,
    ),
    "too many matches to tell": (
        lambda: ReceiveMatching(
            *("g", 1, 1, None, (), 1, ((1, 0, 5_000, tuple(range(4_001))),)),
        ),
        BadRequest,
    ),
    "a short lease": (lambda: ReceiveMessages("g", 1, 1, 999), BadRequest),
    "a long lease": (lambda: ExtendLeases("g", HELD, 12 * 3_600_000 + 1), BadRequest),
    "too many keys": (
        lambda: ReceiveMessages("g", 1, 1, None, ((1, 0, (1,) * 4_001),)),
        BadRequest,
    ),
    "too many messages": (lambda: AckMessages("g", ((1, 1, (0,) * 10_001),)), BadRequest),
    "a negative delay": (lambda: ReturnMessages("g", HELD, 0, -2), BadRequest),
    "a huge delay": (lambda: ReturnMessages("g", HELD, 0, 24 * 3_600_000 + 1), BadRequest),
    "a long reason": (lambda: ReturnMessages("g", HELD, 0, 0, "y" * 201), BadRequest),
    "another verdict": (lambda: DecideBlocked("g", 1, 1, 3), BadRequest),
}


@pytest.mark.parametrize("case", BAD)
def test_a_value_out_of_bounds_is_not_proposed(case: str) -> None:
    """Its caller is told at once, and the log is spared."""
    make, expected = BAD[case]
    with pytest.raises(expected):
        write_command(make())


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\xc1", b"\x80", msgspec.msgpack.encode("t")),
        msgspec.msgpack.encode(["t", [1], "more"]),
        msgspec.msgpack.encode(["t", [1]]) + b"\0",
        msgspec.msgpack.encode([b"\xff", [1]]),
        b"\x92\xa1\xff\x90",
    ],
)
def test_other_bytes_are_a_bad_request(data: bytes) -> None:
    """Apply asks the same function; whatever it raises must be an outcome."""
    with pytest.raises(BadRequest) as caught:
        read_command(CommandType.CREATE_TOPIC, data)
    assert caught.value.__cause__ is None, "an outcome holds no frames"


def test_an_append_or_unknown_type_is_no_such_command() -> None:
    """Embedded programs' bytes in a broker's shard are refused, not read."""
    with pytest.raises(Refused):
        read_command(CommandType.RAW, b"")
