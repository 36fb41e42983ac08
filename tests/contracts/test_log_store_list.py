"""The cases of openraft's log-store suite that ``test_log_store`` lacks, under their names.

Which case is where, and which cannot apply and why: docs/explanation/oracles.md.
Indexes begin at 1 here, at 0 there. A trim there is exact; here it is whole
segments, so it keeps at least everything above the point.
"""

from pathlib import Path

import pytest

from raftlog.base.entry import LOG_ORIGIN, Entry
from raftlog.base.errors import CorruptFrame
from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId, Term
from raftlog.base.writes import HardState, WriteEntries
from tests.contracts.shards import KINDS, Shard, frames, new_shard
from tests.storage.logs import chain

VOTE = ReplicaId(NodeId("n1"), DirectoryId("d1"))


@pytest.fixture(params=KINDS)
def shard(request: pytest.FixtureRequest, tmp_path: Path) -> Shard:
    return new_shard(request.param, tmp_path)


@pytest.fixture(params=[False, True], ids=["running", "restarted"])
def restarts(request: pytest.FixtureRequest) -> bool:
    """Whether what is looked at is looked at by the next incarnation."""
    return bool(request.param)


def branches(*terms: int) -> list[Entry]:
    """Return a log whose entries have these terms."""
    entries: list[Entry] = []
    for term in terms:
        entries += chain(1, after=entries[-1].end if entries else LOG_ORIGIN, term=term, size=200)
    return entries


def runs_of(entries: list[Entry]) -> list[tuple[int, int]]:
    """Return first index and term of every run of equal terms."""
    runs: list[tuple[int, int]] = []
    for entry in entries:
        if not runs or runs[-1][1] != entry.term:
            runs.append((entry.index, entry.term))
    return runs


def look(shard: Shard, *, restarts: bool) -> None:
    """Go on, or start again."""
    if restarts:
        shard.reopen()


def test_get_initial_state_with_state(shard: Shard) -> None:
    """Log, term and vote are there together after a restart."""
    entries = branches(1, 1, 2, 3, 3)
    shard.save(HardState(Term(3), VOTE))
    shard.write(entries)
    shard.reopen()

    assert shard.store.hard_state == HardState(Term(3), VOTE)
    assert shard.store.start == LOG_ORIGIN
    assert shard.store.end == shard.store.durable_end == entries[-1].end


def test_save_vote(shard: Shard) -> None:
    """The last of several is kept, also if nothing else was ever written."""
    for term in (1, 5, 100):
        shard.save(HardState(Term(term), VOTE))
    assert shard.store.hard_state == HardState(Term(100), VOTE)
    shard.reopen()

    assert shard.store.hard_state == HardState(Term(100), VOTE)
    assert shard.store.end == LOG_ORIGIN


@pytest.mark.parametrize("terms", [(1,), (1, 1), (1, 2), (1, 1, 2, 2, 3), (3, 3, 3, 8)])
def test_get_initial_state_log_ids(
    shard: Shard, terms: tuple[int, ...], *, restarts: bool
) -> None:
    """Where every leader's entries begin is known, whatever was trimmed before it."""
    entries = branches(*terms)
    shard.write(entries)
    look(shard, restarts=restarts)
    assert shard.store.term_runs == runs_of(entries)
    for through in range(len(entries) + 1):
        shard.perform(shard.store.plan_trim(Index(through)))
        look(shard, restarts=restarts)
        kept = entries[shard.store.start.index :]

        assert shard.store.start.index <= through
        assert shard.store.term_runs == runs_of(kept)
        assert shard.read() == frames(kept)


def test_get_log_entries(shard: Shard, *, restarts: bool) -> None:
    """Every range, also the empty ones, gives exactly what it names."""
    entries = branches(*[1] * 10)
    shard.write(entries)
    look(shard, restarts=restarts)
    for first in range(1, 11):
        for last in range(first - 1, 11):
            assert shard.read(first, last) == frames(entries[first - 1 : last])


def test_entries_stream(shard: Shard) -> None:
    """A range that ends behind the log ends with the log; one that begins behind it is a bug."""
    entries = branches(*[1] * 10)
    shard.write(entries)
    found: list[Entry] = []
    while len(found) < 3:
        span = shard.store.locate(Index(8 + len(found)), Index(100), 1 << 20)
        found += span.entries(span.read(wait=True) or b"")
        span.close()

    assert frames(found) == frames(entries[7:])
    with pytest.raises(AssertionError):
        shard.store.locate(Index(11), Index(100), 1 << 20)


def test_try_get_log_entry(shard: Shard) -> None:
    """Nothing is read below the start of the log or above its end."""
    shard.write(branches(*[1] * 30))
    shard.perform(shard.store.plan_trim(Index(20)))
    first = shard.store.first_index
    assert first > 1, "nothing was trimmed"

    assert len(shard.read(first, first)) == 1
    for index in (first - 1, 31):
        with pytest.raises(AssertionError):
            shard.read(index, index)


def test_what_is_not_durable_is_not_read(shard: Shard) -> None:
    """An entry that is only planned could still be lost."""
    entries = branches(1, 1)
    shard.write(entries[:1])
    write = WriteEntries(shard.number(), None, tuple(entries[1:]))
    plan = shard.store.plan([write], Index(0))
    with pytest.raises(AssertionError):
        shard.store.locate(Index(2), Index(2), 1 << 20)
    shard.perform(plan)

    assert shard.read(2, 2) == frames(entries[1:])


def test_get_log_state(shard: Shard, *, restarts: bool) -> None:
    """Start and end, when there are only entries, when some are trimmed, and when all are."""
    entries = branches(*[1] * 20, *[2] * 20)
    shard.write(entries)
    for through in (0, 1, 20, 21, 39, 40):
        shard.perform(shard.store.plan_trim(Index(through)))
        look(shard, restarts=restarts)
        start = shard.store.start.index

        assert start <= through
        assert shard.store.start == (entries[start - 1].end if start else LOG_ORIGIN)
        assert shard.store.end == shard.store.durable_end == entries[-1].end


@pytest.mark.parametrize("through", [0, 5, 10])
def test_purge_logs_upto(shard: Shard, through: int, *, restarts: bool) -> None:
    """What lies above the point stays, and the log goes on where it ended."""
    entries = branches(*[1] * 10)
    shard.write(entries)
    shard.perform(shard.store.plan_trim(Index(through)))
    look(shard, restarts=restarts)
    more = chain(2, after=entries[-1].end, term=2)
    shard.write(more)

    assert shard.store.start.index <= through
    assert shard.read(through + 1, 12) == frames(entries[through:] + more)


def test_purge_logs_upto_beyond_the_end(shard: Shard) -> None:
    """There it jumps; here only a snapshot may, and a trim that would is a bug."""
    shard.write(branches(*[1] * 10))
    with pytest.raises(AssertionError, match="beyond the log"):
        shard.store.plan_trim(Index(20))


@pytest.mark.parametrize("since", [11, 10, 5, 1])
def test_delete_logs_since(shard: Shard, since: int, *, restarts: bool) -> None:
    """Nothing of the log, its last entry, half, and all of it; a new branch takes the place."""
    entries = branches(*[1] * 10)
    shard.write(entries)
    kept = entries[: since - 1]
    new = chain(1, after=kept[-1].end if kept else LOG_ORIGIN, term=2)
    shard.write(new, truncate_to=since - 1)
    look(shard, restarts=restarts)

    assert shard.read() == frames(kept + new)
    assert shard.store.end == shard.store.durable_end == new[-1].end
    assert shard.store.term_runs == runs_of(kept + new)


def test_append_to_log(shard: Shard, *, restarts: bool) -> None:
    """After a trim and a truncation the next entry must follow what is left."""
    entries = branches(*[1] * 30)
    shard.write(entries)
    shard.perform(shard.store.plan_trim(Index(10)))
    new = chain(2, after=entries[24].end, term=2)
    shard.write(new, truncate_to=25)
    look(shard, restarts=restarts)
    more = chain(3, after=new[-1].end, term=3)
    shard.write(more)
    look(shard, restarts=restarts)

    kept = entries[:25] + new + more
    assert shard.read() == frames(kept[shard.store.start.index :])
    assert shard.store.end == more[-1].end
    for stranger in (entries[28:], chain(1, after=entries[-1].end, term=9)):
        with pytest.raises(CorruptFrame):
            shard.store.plan([WriteEntries(shard.number(), None, tuple(stranger))], Index(0))
        shard.reopen()


def test_appending_nothing_changes_nothing(shard: Shard) -> None:
    """An empty write is still a write: its number is reported."""
    entries = branches(1, 2)
    shard.write(entries)
    number = shard.number()
    plan = shard.store.plan([WriteEntries(number, None, ())], Index(0))
    assert plan.last_write == number
    shard.perform(plan)

    assert shard.read() == frames(entries)
