"""Whole histories: replicas agree, and a snapshot is as good as never having stopped."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.errors import CorruptFrame, IncompatibleFormat, RaftlogError
from raftlog.broker import index, table
from raftlog.broker.commands import Command, CommandType
from raftlog.broker.index import SealedRange
from raftlog.broker.invariants import check
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.refusals import CommandRefused
from raftlog.broker.snapshot import FrozenTables, parse_snapshot
from tests.broker.histories import History
from tests.broker.logs import append, applied, batch_of, entry_of, opening

SEEDS = range(10)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of a few postings and chunks of a few rows, so that a history has many."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 12)
    monkeypatch.setattr(table, "CHUNK_BYTES", 60)


@pytest.mark.parametrize("seed", SEEDS)
def test_machines_fed_the_same_entries_agree_on_everything(seed: int) -> None:
    """A replica that differs serves other records at the same offset (R6)."""
    history = History(seed).run(400)
    other = BrokerMachine()
    for entry, outcomes in zip(history.entries, history.outcomes, strict=True):
        assert shown(other.apply(entry)) == shown(outcomes)
        check(other)
    assert other.digest() == history.machine.digest()
    ours, theirs = history.machine.take_sealed(), other.take_sealed()
    assert [item.encoded for item in ours] == [item.encoded for item in theirs]


def test_the_seed_of_a_process_s_hashes_decides_nothing() -> None:
    """Sets of names come in another order in every process; replicas are processes."""
    program = (
        "from tests.broker.histories import History; history = History(5).run(200); "
        "print(history.machine.digest(), history.outcomes)"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(printed) == 1


def shown(outcomes: object) -> str:
    """Errors are equal if they say the same."""
    return repr(outcomes)


def test_the_histories_do_everything() -> None:
    """A generator whose commands are all refused would prove nothing."""
    seen: Counter[str] = Counter()
    for seed in SEEDS:
        for outcomes in History(seed).run(400).outcomes:
            for outcome in outcomes:
                what = outcome.error if isinstance(outcome, CommandRefused) else outcome
                seen[type(what).__name__] += 1
                seen["duplicate"] += getattr(what, "duplicate", False)
    expected = [
        *("Appended", "duplicate", "Topic", "StartMoved", "ProducerBegun", "ProducerFenced"),
        *(
            "Assignment",
            "SubscriptionSet",
            "SubscriptionConflict",
            "GroupLeft",
            "GroupDeleted",
            "QueueClaimed",
            "OffsetsCommitted",
            "QueuesReleased",
        ),
        *("GroupSought", "Fenced", "UnknownProducer", "OutOfOrder", "DuplicateForgotten"),
        *("BadBatch", "BadRequest", "WrongQueue", "TopicNotFound", "TopicExists", "NotPermitted"),
        *("GroupNotFound", "GroupInUse", "UnknownMember", "OffsetGoesBack", "OffsetOutOfRange"),
        *("QueueGroup", "Leased", "Settled", "StaleLease", "DeadLetterStored", "GroupStyle"),
        *(
            "Delayed",
            "CancelEnded",
            "Relocated",
            "CopiedForward",
            "LogTrimmed",
            "TrimRefused",
            "BadDelay",
        ),
        *("TransactorBegun", "HalfStaged", "DecisionsMade", "ChecksAnswered", "Decided"),
        *("UnknownTransactor", "TransactionNotFound", "TransactionDecided"),
        *("TransactionCommitted", "QueueGroupSought", "WrongMessageType"),
    ]
    assert {name: seen[name] for name in expected if seen[name] < 3} == {}


class Restart:
    """Feeds a machine, and writes each snapshot chunk by chunk between two entries."""

    def __init__(self, pieces_per_entry: int) -> None:
        self.machine = BrokerMachine()
        self.files: dict[int, bytes] = {}
        self.sealed: list[SealedRange] = []
        self._per_entry = pieces_per_entry
        self._writing: tuple[FrozenTables, Iterator[bytes], list[bytes]] | None = None

    def feed(self, history: History) -> None:
        for entry in history.entries:
            self.machine.apply(entry)
            self.sealed.extend(self.machine.take_sealed())
            if self._writing is None:
                frozen = self.machine.take_snapshot()
                if frozen is None:
                    continue
                self._writing = (frozen, frozen.chunks(), [])
            frozen, chunks, written = self._writing
            for _ in range(self._per_entry):
                chunk = next(chunks, None)
                if chunk is None:
                    frozen.end()
                    self.files[frozen.index] = b"".join(written)
                    self._writing = None
                    break
                written.append(chunk)

    def restored(self, at: int) -> BrokerMachine:
        machine = BrokerMachine()
        snapshot = parse_snapshot(self.files[at])
        ranges = [
            item.summary
            for item in self.sealed
            if snapshot.facts.trimmed < item.summary.last_index <= at
        ]
        machine.restore(ranges, snapshot)
        return machine


@pytest.mark.parametrize("pieces", [1, 4, 1000])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_restored_machine_goes_on_as_if_it_had_never_stopped(seed: int, pieces: int) -> None:
    """Every outcome after the restart, every sealed byte, and the digest at the end (27)."""
    history = History(seed).run(300)
    restart = Restart(pieces)
    restart.feed(history)
    assert len(restart.files) > 3
    sealed = {item.summary.first_index: item.encoded for item in restart.sealed}
    for at in restart.files:
        machine = restart.restored(at)
        check(machine)
        for entry, outcomes in zip(history.entries[at:], history.outcomes[at:], strict=True):
            assert shown(machine.apply(entry)) == shown(outcomes)
        assert machine.digest() == history.machine.digest()
        for item in machine.take_sealed():
            assert sealed[item.summary.first_index] == item.encoded


@pytest.mark.parametrize("seed", SEEDS)
def test_a_snapshot_holds_the_very_state_of_its_index(seed: int) -> None:
    """What changes while it is written is not in it, whatever is written, deleted or new."""
    history = History(seed).run(300)
    slow, fast = Restart(1), Restart(1_000)
    slow.feed(history)
    fast.feed(history)
    common = slow.files.keys() & fast.files.keys()
    assert common
    for at in common:
        assert slow.files[at] == fast.files[at]
        assert slow.restored(at).digest() == applied(history.entries[:at]).digest()


def test_while_a_snapshot_is_being_written_no_other_is_begun() -> None:
    """One at a time; one that nobody took gives way to the next (18)."""
    machine = applied([opening()])
    taken: list[FrozenTables] = []
    for at in range(2, 50):
        machine.apply(entry_of(at, *[append(batch_of(b"a"))] * 6))
        if at in {5, 6, 30, 31}:
            frozen = machine.take_snapshot()
            if frozen is not None:
                taken.append(frozen)
    assert [frozen.index for frozen in taken] == [5]
    taken[0].end()
    machine.apply(entry_of(50, *[append(batch_of(b"a"))] * 12))
    newest = machine.take_snapshot()
    assert newest is not None
    assert newest.index == 50


def a_snapshot() -> bytes:
    history = History(3).run(200)
    frozen = history.machine.take_snapshot()
    assert frozen is not None
    return b"".join(frozen.chunks())


def test_every_damaged_byte_of_a_snapshot_is_noticed() -> None:
    """A table with one wrong row differs from its peers for ever."""
    good = a_snapshot()
    parse_snapshot(good)
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << (place % 8)
        with pytest.raises((CorruptFrame, IncompatibleFormat)):
            parse_snapshot(damaged)


def test_every_cut_of_a_snapshot_is_noticed() -> None:
    """A crash between write and rename must not leave a smaller state."""
    good = a_snapshot()
    for size in range(len(good)):
        with pytest.raises(CorruptFrame):
            parse_snapshot(good[:size])
    with pytest.raises(CorruptFrame):
        parse_snapshot(good + b"x")


def test_a_snapshot_without_its_ranges_is_our_bug() -> None:
    """Tables ahead of the index would be holes in it."""
    with pytest.raises(AssertionError, match="ranges up to"):
        BrokerMachine().restore([], parse_snapshot(a_snapshot()))
    machine = applied([entry_of(1)])
    with pytest.raises(AssertionError, match="ranges up to"):
        machine.restore([], parse_snapshot(a_snapshot()))


kinds = st.sampled_from([int(kind) for kind in CommandType])


@given(st.lists(st.tuples(kinds, st.binary(max_size=200)), max_size=8))
def test_no_bytes_make_apply_raise(commands: list[tuple[int, bytes]]) -> None:
    """A committed poison entry would stop all three replicas at every start (15)."""
    history = History(1).run(40)
    at = len(history.entries) + 1
    raw = [Command(kind, (data,)) for kind, data in commands]
    outcomes = history.machine.apply(entry_of(at, *raw))
    assert len(outcomes) == len(commands)
    for outcome in outcomes:
        assert not isinstance(outcome, CommandRefused) or isinstance(outcome.error, RaftlogError)
    check(history.machine)


numbers = st.integers(-(1 << 63), (1 << 64) - 1)
leaves = st.one_of(
    numbers, st.none(), st.booleans(), st.text(max_size=9), st.sampled_from(["t1", "g1", "m1"])
)
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=6), max_leaves=12)


@given(st.lists(st.tuples(kinds, st.lists(trees, max_size=6)), max_size=8))
def test_no_values_make_apply_raise(commands: list[tuple[int, list[object]]]) -> None:
    """Random bytes seldom decode; these mostly do, and are absurd."""
    history = History(2).run(40)
    at = len(history.entries) + 1
    raw = [Command(kind, (msgspec.msgpack.encode(value),)) for kind, value in commands]
    assert len(history.machine.apply(entry_of(at, *raw))) == len(commands)
    check(history.machine)
