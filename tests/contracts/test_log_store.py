"""What every log store does: the real one on both disks, and its twin in memory."""

from pathlib import Path
from random import Random

import pytest

from raftlog.base.entry import HEADER_BYTES, LOG_ORIGIN, Entry
from raftlog.base.errors import CorruptFrame, FaultyEntry
from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId, Term
from raftlog.base.writes import HardState, SaveHardState, Write, WriteEntries
from raftlog.storage.span import Place
from tests.contracts.shards import KINDS, Shard, frames, new_shard
from tests.storage.logs import chain

VOTE = ReplicaId(NodeId("n2"), DirectoryId("d2"))


@pytest.fixture(params=KINDS)
def shard(request: pytest.FixtureRequest, tmp_path: Path) -> Shard:
    return new_shard(request.param, tmp_path)


def test_a_new_log_is_empty(shard: Shard) -> None:
    """Every log matches at the origin."""
    assert shard.store.start == shard.store.end == shard.store.durable_end == LOG_ORIGIN
    assert shard.store.term_runs == []
    assert shard.store.faulty_count == 0


def test_what_was_performed_is_there_after_a_restart(shard: Shard) -> None:
    """Storage.md 1; many segments, because they are tiny here."""
    entries = chain(50)
    for first in range(0, 50, 7):
        shard.write(entries[first : first + 7])
    shard.reopen()
    assert shard.read() == frames(entries)
    assert shard.store.end == shard.store.durable_end == entries[-1].end


def test_what_was_only_planned_is_not_durable(shard: Shard) -> None:
    """``durable_end`` is a promise, ``end`` a plan."""
    entries = chain(3)
    plan = shard.store.plan([WriteEntries(shard.number(), None, tuple(entries))], Index(0))
    assert shard.store.end == entries[-1].end
    assert shard.store.durable_end == LOG_ORIGIN
    plan.perform()
    assert shard.store.durable_end == LOG_ORIGIN
    shard.store.complete(plan)
    assert shard.store.durable_end == entries[-1].end


def test_a_plan_reports_its_last_write_number(shard: Shard) -> None:
    """Ruling 4: only write numbers are reported."""
    entries = chain(2)
    writes: list[Write] = [
        WriteEntries(shard.number(), None, (entries[0],)),
        SaveHardState(shard.number(), HardState(Term(2), None)),
        WriteEntries(shard.number(), None, (entries[1],)),
    ]
    plan = shard.store.plan(writes, Index(0))
    assert plan.last_write == 3
    shard.perform(plan)
    shard.reopen()
    assert shard.read() == frames(entries)
    assert shard.store.hard_state == HardState(Term(2), None)


def test_one_plan_is_under_way_at_a_time(shard: Shard) -> None:
    """The files belong to the writer while it performs."""
    shard.store.plan([WriteEntries(shard.number(), None, tuple(chain(1)))], Index(0))
    with pytest.raises(AssertionError, match="one plan"):
        shard.store.plan([WriteEntries(shard.number(), None, ())], Index(0))


def test_an_append_that_does_not_link_is_refused(shard: Shard) -> None:
    """The chain is checked before the write, too."""
    shard.write(chain(2))
    stranger = chain(3, term=7)[2:]
    with pytest.raises(CorruptFrame, match="links to"):
        shard.store.plan([WriteEntries(shard.number(), None, tuple(stranger))], Index(0))


@pytest.mark.parametrize("cut", [0, 1, 6, 19, 20])
def test_a_truncation_leaves_the_prefix_and_the_new_branch(shard: Shard, cut: int) -> None:
    """From the whole log to nothing at all of it."""
    old = chain(20)
    shard.write(old)
    end = old[cut - 1].end if cut else LOG_ORIGIN
    new = chain(3, after=end, term=2)
    shard.write(new, truncate_to=cut)
    assert shard.read() == frames(old[:cut] + new)
    shard.reopen()
    assert shard.read() == frames(old[:cut] + new)
    assert shard.store.term_runs == ([(1, 1)] if cut else []) + [(cut + 1, 2)]


@pytest.mark.parametrize("cut", [0, 2, 3])
def test_a_truncation_comes_with_what_replaces_it(shard: Shard, cut: int) -> None:
    """The twin cut without it and the real store broke: now both say that it is a bug."""
    shard.write(chain(3))
    with pytest.raises(AssertionError, match="without what replaces it"):
        shard.store.plan([WriteEntries(shard.number(), Index(cut), ())], Index(0))


def test_write_truncate_and_write_the_same_again(shard: Shard) -> None:
    """Ruling 4's three writes in one plan: the end is right, and every step was made."""
    base = chain(4)
    old = chain(1, after=base[-1].end, term=2)
    other = chain(1, after=base[-1].end, term=3)
    shard.write(base)
    writes: list[Write] = [
        WriteEntries(shard.number(), None, tuple(old)),
        WriteEntries(shard.number(), Index(4), tuple(other)),
        WriteEntries(shard.number(), Index(4), tuple(old)),
    ]
    shard.perform(shard.store.plan(writes, Index(0)))
    shard.reopen()
    assert shard.read() == frames(base + old)


def test_a_truncation_lowers_what_is_durable_when_it_is_planned(shard: Shard) -> None:
    """A read must not be promised what is about to be cut."""
    old = chain(5)
    shard.write(old)
    new = chain(1, after=old[1].end, term=2)
    shard.store.plan([WriteEntries(shard.number(), Index(2), tuple(new))], Index(0))
    assert shard.store.durable_end == old[1].end
    assert shard.store.truncations == 1


def test_a_read_takes_at_least_one_entry_and_no_more_than_was_asked(shard: Shard) -> None:
    """Bounds in entries and in bytes."""
    entries = chain(8, size=20)
    shard.write(entries)
    size = entries[0].size
    table = ((1, 8, 1, 1), (2, 2, 10_000, 1), (3, 8, 2 * size, 2), (3, 4, 10_000, 2))
    for first, last, bytes_max, count in table:
        span = shard.store.locate(Index(first), Index(last), bytes_max)
        found = span.entries(span.read(wait=True) or b"")
        span.close()
        assert [entry.index for entry in found] == list(range(first, first + count))


def test_bodies_are_cut_out_of_entries(shard: Shard) -> None:
    """A fetch reads batches, not entries (ruling 17)."""
    entries = chain(6, size=30)
    shard.write(entries)
    places = [Place(Index(index), 3, 10) for index in (2, 3, 5)]
    found: list[bytes] = []
    while len(found) < len(places):
        span = shard.store.locate_bodies(places[len(found) :], 4096)
        found.extend(bytes(each) for each in span.read(wait=True) or ())
        span.close()
    bodies = [bytes(entries[at.index - 1].frame)[HEADER_BYTES:] for at in places]
    assert found == [body[3:13] for body in bodies]


def test_a_faulty_entry_is_not_served_until_the_same_one_is_back(shard: Shard) -> None:
    """Ruling 20; another entry of the same index is not the same one."""
    entries = chain(5)
    shard.write(entries)
    shard.store.mark_faulty(Index(3))
    assert shard.store.faulty_ranges() == [(3, 3)]
    with pytest.raises(FaultyEntry):
        shard.store.locate(Index(3), Index(5), 4096)
    span = shard.store.locate(Index(1), Index(5), 4096)
    assert [entry.index for entry in span.entries(span.read(wait=True) or b"")] == [1, 2]
    span.close()
    assert shard.store.plan_repair(chain(1, after=entries[1].end, term=2)) is None
    assert shard.store.plan_repair(entries[3:4]) is None
    shard.perform(shard.store.plan_repair(entries[2:3]))
    assert shard.store.faulty_count == 0
    assert shard.read() == frames(entries)


def test_a_trim_keeps_everything_above_it(shard: Shard) -> None:
    """Whole segments go; what is above the point never does (R4)."""
    entries = chain(60)
    shard.write(entries)
    shard.perform(shard.store.plan_trim(Index(41)))
    start = shard.store.start
    assert 0 < start.index <= 41
    assert start == entries[start.index - 1].end
    shard.reopen()
    assert shard.store.start == start
    assert shard.read() == frames(entries[start.index :])


def test_a_span_stays_readable_while_its_entries_are_trimmed(shard: Shard) -> None:
    """Ruling 17: trim takes the name away at once, the bytes stay until the reader is done."""
    entries = chain(60)
    shard.write(entries)
    span = shard.store.locate(Index(1), Index(3), 4096)
    shard.perform(shard.store.plan_trim(Index(60)))
    assert [entry.index for entry in span.entries(span.read(wait=True) or b"")] == [1, 2, 3]
    span.close()
    span.close()


@pytest.mark.parametrize("state", [HardState(Term(3), VOTE), HardState(Term(9), None)])
def test_the_hard_state_survives_and_is_counted(shard: Shard, state: HardState) -> None:
    """The sequence is what peers remember (ruling 16)."""
    before = shard.store.hard_sequence
    shard.perform(shard.store.plan([SaveHardState(shard.number(), state)], Index(0)))
    shard.reopen()
    assert shard.store.hard_state == state
    assert shard.store.hard_sequence == before + 1


def test_any_history_reads_back_as_a_list_would(shard: Shard) -> None:
    """Random appends, truncations, trims and restarts against the obvious model."""
    random = Random(5)
    model: list[Entry] = []
    term = 1
    for _ in range(60):
        action = random.choice(["append", "append", "truncate", "trim", "reopen", "mark"])
        if action in ("append", "truncate"):
            cut = None
            if action == "truncate" and len(model) > shard.store.start.index:
                cut = random.randint(shard.store.start.index, len(model))
                term += 1
                del model[cut:]
            end = model[-1].end if model else LOG_ORIGIN
            new = chain(random.randint(1, 9), after=end, term=term, size=random.randint(0, 90))
            shard.write(new, truncate_to=cut)
            model.extend(new)
        elif action == "trim" and model:
            shard.perform(shard.store.plan_trim(Index(random.randint(0, len(model)))))
        elif action == "reopen":
            shard.reopen()
        elif (plan := shard.store.plan_mark()) is not None:
            shard.perform(plan)
        assert shard.read() == frames(model[shard.store.start.index :])
        terms = {entry.index: entry.term for entry in model}
        assert all(terms[index] == run for index, run in shard.store.term_runs)
