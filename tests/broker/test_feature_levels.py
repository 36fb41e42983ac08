"""Nodes of two versions: each refuses what the other one decided, and neither guesses."""

from collections.abc import Callable
from typing import Final

import msgspec
import pytest

from raftlog.base.entry import Entry, EntryKind, seal
from raftlog.base.errors import BadRequest, IncompatibleFormat
from raftlog.base.ids import Index
from raftlog.broker import commands, index, ranges, snapshot
from raftlog.broker import machine as machines
from raftlog.broker.atomic_commands import TransactionCommitted
from raftlog.broker.claims import ClaimQueue, CommitOffsets, OffsetsCommitted
from raftlog.broker.codec import CommandValue, write_command
from raftlog.broker.commands import (
    BROKER_LEVEL_MIN,
    ENVELOPE,
    FEATURE_LEVEL,
    Command,
    CommandType,
    decode,
    envelope,
)
from raftlog.broker.group_commands import Assignment, JoinGroup, LeaveGroup, SetSubscription
from raftlog.broker.lease_commands import AckMessages, ReceiveMessages
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroupChanges
from raftlog.broker.ranges import parse_range
from raftlog.broker.refusals import CommandRefused
from raftlog.broker.snapshot import is_snapshot, parse_snapshot
from raftlog.wire.batch import Producer
from raftlog.wire.filters import RecordFilter
from tests.broker.logs import TERM, Shard, append, applied, atomic, batch_of, log_of, tables_of
from tests.broker.test_due import restored

OLDER: Final = BROKER_LEVEL_MIN - 1
BATCH: Final = batch_of(b"a", b"b")


def files_of(level: int, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, bytes]:
    """Return an index range and a snapshot as a binary of that level writes them."""
    with monkeypatch.context() as patch:
        patch.setattr(index, "RANGE_POSTINGS", 2)
        patch.setattr(commands, "FEATURE_LEVEL", level)
        patch.setattr(machines, "BROKER_LEVEL_MIN", level)
        machine = applied(log_of([append(BATCH), append(BATCH)]))
        sealed, frozen = machine.take_sealed(), machine.take_snapshot()
        assert sealed
        assert frozen is not None
        return bytes(sealed[0].encoded), b"".join(frozen.chunks())


def test_an_entry_of_an_older_level_is_refused_before_it_changes_anything() -> None:
    """n1 (old) leads and n2 (new) follows: n2 would remember a finisher that n1 does not have.

    Who was told ``StaleLease`` would then depend on which of them leads.
    """
    machine = applied(log_of([append(BATCH)]))
    before = machine.digest()
    body = b"".join(envelope(3, [append(BATCH)]))
    older = ENVELOPE.pack(1, OLDER, 3, 1) + body[ENVELOPE.size :]
    with pytest.raises(IncompatibleFormat, match=rf"entry 3 has feature level {OLDER}"):
        machine.apply(seal(EntryKind.COMMANDS, TERM, Index(3), 0, [older]))
    assert (machine.applied, machine.digest()) == (2, before)


def test_an_older_binary_refuses_every_entry_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """n1 (new) leads and n2 (old) follows: also entries of commands that n2 does know."""
    machine = applied(log_of([append(BATCH)]))
    before = machine.digest()
    body = b"".join(envelope(3, [append(BATCH)]))
    monkeypatch.setattr(commands, "FEATURE_LEVEL", OLDER)
    with pytest.raises(IncompatibleFormat, match=f"feature level {FEATURE_LEVEL}"):
        machine.apply(seal(EntryKind.COMMANDS, TERM, Index(3), 0, [body]))
    assert (machine.applied, machine.digest()) == (2, before)


@pytest.mark.parametrize("read", [0, 1], ids=["range", "snapshot"])
def test_files_of_an_older_level_are_refused_by_name(
    read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes that go on from tables of different age would differ from then on."""
    parse: Callable[[bytes], object] = (parse_range, parse_snapshot)[read]
    parse(files_of(FEATURE_LEVEL, monkeypatch)[read])
    with pytest.raises(IncompatibleFormat, match=f"has feature level {OLDER}"):
        parse(files_of(OLDER, monkeypatch)[read])


@pytest.mark.parametrize("read", [0, 1], ids=["range", "snapshot"])
def test_an_older_binary_refuses_the_files_of_this_one(
    read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot with table 23 is more than it knows; one without it is, too."""
    parse: Callable[[bytes], object] = (parse_range, parse_snapshot)[read]
    data = files_of(FEATURE_LEVEL, monkeypatch)[read]
    monkeypatch.setattr((ranges, snapshot)[read], "FEATURE_LEVEL", OLDER)
    with pytest.raises(IncompatibleFormat, match=f"feature level {FEATURE_LEVEL}"):
        parse(data)


def test_a_snapshot_of_an_older_level_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from a leader of an older version: it is checked like a stored one."""
    last = Index(2)
    assert is_snapshot(files_of(FEATURE_LEVEL, monkeypatch)[1], last)
    assert not is_snapshot(files_of(OLDER, monkeypatch)[1], last)


def entry_at(level: int, shard: Shard, command: Command | CommandValue) -> Entry:
    """Return the next entry, with one command, as a leader of that level would have made it."""
    raw = command if isinstance(command, Command) else write_command(command)
    body = b"".join(envelope(shard.log_time_ms, [raw]))
    stamped = ENVELOPE.pack(1, level, shard.log_time_ms, 1) + body[ENVELOPE.size :]
    at = Index(shard.machine.applied + 1)
    return seal(EntryKind.COMMANDS, TERM, at, 0, [stamped])


def at_level(level: int, shard: Shard, command: Command | CommandValue) -> object:
    """Apply one command of a leader of that level."""
    (outcome,) = shard.machine.apply(entry_at(level, shard, command))
    return outcome


def late_ack(level: int) -> tuple[Shard, Command]:
    """Return a transaction that acknowledges, beside a batch, what was acknowledged before."""
    shard = Shard(level)
    (orders,), (bills,) = shard.topic("orders"), shard.topic("bills")
    shard(append(BATCH, orders))
    shard(OpenQueueGroup("work", ("orders",), QueueGroupChanges()))
    shard(ReceiveMessages("work", 7, 1))
    ack = AckMessages("work", ((7, orders, (0,)),))
    shard(ack)
    by = Producer(1 << 16, 0, 0)
    return shard, atomic((bills, by, 1), acks=[ack])


@pytest.mark.parametrize(("level", "outcome"), [(3, CommandRefused), (2, TransactionCommitted)])
def test_an_entry_of_level_2_is_applied_by_its_rules(level: int, outcome: type) -> None:
    """n1 (level 2) has applied a late acknowledgement with a batch; n2 applies it later."""
    shard, late = late_ack(2)
    assert isinstance(at_level(level, shard, late), outcome)


def test_the_level_never_falls() -> None:
    """n1 stamps 3 and loses its leadership; n2 leads, and has not applied that entry yet.

    Members know by then that rules of 3 decide; two that took n2's stamp for what decides, and
    one that was restored in between, would differ.
    """
    shard, late = late_ack(3)
    assert isinstance(at_level(2, shard, late), CommandRefused)
    assert shard.machine.feature_level == 3


def test_a_shard_begins_at_the_level_of_its_first_entry() -> None:
    """An empty one at the lowest, until its leader knows better."""
    for level in (BROKER_LEVEL_MIN, FEATURE_LEVEL):
        shard = Shard(level)
        assert shard.machine.feature_level == BROKER_LEVEL_MIN
        shard.topic("orders")
        assert shard.machine.feature_level == level


def test_what_a_lower_level_can_not_read_is_refused_by_all() -> None:
    """An older member refuses its form: who stored it would differ from that one for ever."""
    shard = Shard(2)
    orders, *more = shard.topic("orders", queues=101)
    shard(JoinGroup("g", "a", ("orders",), 10_000))
    shard(ClaimQueue("g", orders, 1, "a"))
    shard(append(BATCH, orders))
    commit = CommitOffsets("g", "a", 1, ((orders, 1),), 0, (-1,))
    assert shard.refusal(commit) is BadRequest
    by = Producer(1 << 16, 0, 0)
    assert shard.refusal(atomic((orders, by, 1), offsets=[commit])) is BadRequest
    plain = CommitOffsets("g", "a", 1, ((orders, 1),))
    many = [CommitOffsets("g", "a", 1, ((queue, 1),)) for queue in (orders, *more)]
    assert shard.refusal(atomic((orders, by, 1), offsets=many)) is BadRequest
    assert shard(plain) == OffsetsCommitted()
    shard.level = 3
    assert isinstance(shard(CommitOffsets("g", "a", 1, ((orders, 2),), 0, (1,))), OffsetsCommitted)


def test_a_join_of_level_2_is_applied_by_its_rules() -> None:
    """What a group without members reads stayed then."""
    shard = Shard(2)
    shard.topic("orders")
    shard.topic("bills")
    shard(JoinGroup("readers", "a", ("orders",), 10_000))
    shard(LeaveGroup("readers", "a"))
    other = JoinGroup("readers", "b", ("bills",), 10_000)
    for level, outcome in ((2, CommandRefused), (3, Assignment)):
        assert isinstance(at_level(level, shard, other), outcome)


def test_what_was_said_by_hand_at_level_2_stays_from_level_3_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """n1 is restored from what was stored at level 2, n2 ran on; both enter level 3 alike."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 1)
    n2 = Shard(2)
    (orders,) = n2.topic("orders")
    paid = RecordFilter(("paid",))
    for group in ("told", "left"):
        at_level(2, n2, JoinGroup(group, "a", ("orders",), 10_000))
    at_level(2, n2, SetSubscription("told", ("orders",), paid))
    for group in ("told", "left"):
        at_level(2, n2, LeaveGroup(group, "a"))
    at_level(2, n2, append(BATCH, orders))
    n1 = restored(n2.machine)
    assert n1 is not None
    outcomes = []
    for group in ("told", "left"):
        entry = entry_at(
            3, n2, JoinGroup(group, "b", ("orders",), 10_000, "", RecordFilter(("a",)))
        )
        (one,), (other,) = n1.apply(entry), n2.machine.apply(entry)
        assert type(one) is type(other)
        outcomes.append(type(other))
    assert outcomes == [CommandRefused, Assignment]
    assert tables_of(n1) == tables_of(n2.machine)


def test_a_row_of_level_2_is_stored_as_it_was() -> None:
    """Whoever stored it with that level's binary has the same bytes."""
    for level, fields in ((2, 4), (3, 5)):
        shard = Shard(level)
        shard.topic("orders")
        at_level(level, shard, JoinGroup("g", "a", ("orders",), 10_000))
        at_level(level, shard, SetSubscription("g", ("orders",), RecordFilter(("paid",))))
        (chunk,) = shard.machine.groups.table.freeze().chunks()
        ((name, _, subscription),) = msgspec.msgpack.decode(chunk.data)
        assert (name, len(subscription)) == ("g", fields)


def test_raw_commands_are_read_at_every_level() -> None:
    """They are an embedding program's own: its log opens with a later raftlog."""
    body = b"".join(envelope(3, [Command(int(CommandType.RAW), (b"x",))]))
    older = ENVELOPE.pack(1, OLDER, 3, 1) + body[ENVELOPE.size :]
    assert decode(older).places == decode(body).places
