"""A log that begins anew behind a snapshot: the contract of both stores, after a restart too."""

from pathlib import Path

import pytest

from raftlog.base.entry import Entry, EntryKind, LogEnd, seal
from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId, Term
from raftlog.base.membership import Membership
from raftlog.base.writes import ResetLog, WriteEntries
from raftlog.storage.memory import MemoryLogStore
from tests.contracts.shards import KINDS, Shard, frames, new_shard
from tests.storage.logs import chain

BASE = LogEnd(Index(40), Term(3), 0x1234)
MEMBERS = Membership((ReplicaId(NodeId("n1"), DirectoryId("d1")),)).encode()


@pytest.fixture(params=KINDS)
def shard(request: pytest.FixtureRequest, tmp_path: Path) -> Shard:
    made = new_shard(request.param, tmp_path)
    made.write(chain(8))
    return made


def following() -> list[Entry]:
    """What comes behind the snapshot."""
    first = seal(EntryKind.COMMANDS, Term(3), Index(41), BASE.checksum, [b"a"])
    return [first, seal(EntryKind.COMMANDS, Term(4), Index(42), first.checksum, [b"b"])]


def reset(shard: Shard) -> None:
    shard.perform(shard.store.plan([ResetLog(shard.number(), BASE, MEMBERS)], Index(0)))


def test_nothing_is_left_of_the_old_log(shard: Shard) -> None:
    reset(shard)
    for store in (shard.store, shard.reopen()):
        assert store.start == store.end == store.durable_end == BASE
        assert store.first_index == 41
        assert not store.faulty_count
        assert store.term_runs == []


def test_the_members_are_those_of_the_snapshot(shard: Shard) -> None:
    """A replica obeys the newest configuration of its log, and that one is not in it."""
    reset(shard)
    rows = shard.reopen().configurations
    assert [(row.index, row.body) for row in rows] == [(40, MEMBERS)]


def test_the_log_goes_on_behind_the_snapshot(shard: Shard) -> None:
    reset(shard)
    shard.write(following())
    assert shard.read() == frames(following())
    shard.reopen()
    assert shard.read() == frames(following())
    assert shard.store.end == following()[-1].end


def test_reset_and_what_follows_may_be_one_plan(shard: Shard) -> None:
    """What was to be appended before it is forgotten with the rest."""
    writes = [
        WriteEntries(shard.number(), None, ()),
        ResetLog(shard.number(), BASE, MEMBERS),
        WriteEntries(shard.number(), None, tuple(following())),
    ]
    shard.perform(shard.store.plan(writes, Index(0)))
    assert shard.reopen().start == BASE
    assert shard.read() == frames(following())


def test_write_units_are_counted_on(shard: Shard) -> None:
    """A peer that remembers a higher one would take this directory for an old backup."""
    before = shard.store.unit_number
    reset(shard)
    assert shard.store.unit_number > before
    if not isinstance(shard.store, MemoryLogStore):  # which counts none over a restart
        assert shard.reopen().unit_number > before
