"""The cases of openraft's log-store suite about who the members are, under their names.

Which case is where, and which cannot apply and why: docs/explanation/oracles.md.
There the state machine remembers members that the log no longer has; here the store names
the newest committed configuration for ever (``storage/configurations.py``), and the machine
has none. ``applied`` of a case there is the commit index here.
"""

from pathlib import Path

import pytest

from raftlog.base.entry import LOG_ORIGIN, Entry, EntryKind, LogEnd, seal
from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId, Term
from raftlog.base.membership import Configuration, Membership, decode_membership
from raftlog.base.writes import HardState, WriteEntries
from raftlog.raft.configurations import Configurations
from tests.contracts.shards import KINDS, Shard, new_shard
from tests.storage.logs import chain


def members(*numbers: int) -> Membership:
    """Return the membership with these voters."""
    return Membership(
        tuple(ReplicaId(NodeId(f"n{number}"), DirectoryId(f"d{number}")) for number in numbers)
    )


FORMED = members(1)


@pytest.fixture(params=KINDS)
def shard(request: pytest.FixtureRequest, tmp_path: Path) -> Shard:
    return new_shard(request.param, tmp_path)


@pytest.fixture(params=[False, True], ids=["running", "restarted"])
def restarts(request: pytest.FixtureRequest) -> bool:
    """Whether what is looked at is looked at by the next incarnation."""
    return bool(request.param)


def log_of(*parts: int | Membership, after: LogEnd = LOG_ORIGIN) -> list[Entry]:
    """Return a log: so many blank entries, or one that says who the members are."""
    entries: list[Entry] = []
    for part in parts:
        end = entries[-1].end if entries else after
        if isinstance(part, int):
            entries += chain(part, after=end)
            continue
        index, body = Index(end.index + 1), part.encode()
        entries.append(seal(EntryKind.CONFIGURATION, Term(1), index, end.checksum, [body]))
    return entries


def append(shard: Shard, entries: list[Entry], commit: int = 0) -> None:
    """Append durably, with the commit index that the core says with it."""
    write = WriteEntries(shard.number(), None, tuple(entries))
    shard.perform(shard.store.plan([write], Index(commit)))


def known(shard: Shard, *, restarts: bool = False, commit: int = 0) -> list[Membership]:
    """Return what the store says of the newest committed configuration and all later ones."""
    store = shard.reopen() if restarts else shard.store
    rows = [Configuration(row.index, decode_membership(row.body)) for row in store.configurations]
    committed = [row for row in rows if row.index <= commit]
    return [row.membership for row in (*committed[-1:], *rows[len(committed) :])]


def remembered(shard: Shard, commit: int) -> tuple[Membership, Membership]:
    """Return the committed configuration and the one in force, as a core begins with them."""
    rows = shard.store.configurations
    found = Configurations(
        [
            Configuration(Index(0), FORMED),
            *(Configuration(row.index, decode_membership(row.body)) for row in rows),
        ]
    )
    return found.newest_committed(Index(commit)), found.membership


def test_last_membership_in_log_initial(shard: Shard, *, restarts: bool) -> None:
    """A new log says nothing about members."""
    assert known(shard, restarts=restarts) == []


def test_last_membership_in_log(shard: Shard, *, restarts: bool) -> None:
    """One, then two with blank entries around; of three the newest committed one and later."""
    append(shard, log_of(members(1, 2, 3)))
    assert known(shard, restarts=restarts) == [members(1, 2, 3)]
    append(shard, log_of(1, members(7, 8, 9), 1, after=shard.store.end), commit=1)
    assert known(shard, restarts=restarts, commit=1) == [members(1, 2, 3), members(7, 8, 9)]
    append(shard, log_of(members(5, 6), after=shard.store.end), commit=4)
    assert known(shard, restarts=restarts, commit=4) == [members(7, 8, 9), members(5, 6)]


def test_last_membership_in_log_multi_step(shard: Shard, *, restarts: bool) -> None:
    """However many blank entries and segments lie between them."""
    append(shard, log_of(members(1, 2, 3), members(3, 4, 5)))
    for _ in range(97):
        append(shard, log_of(1, after=shard.store.end), commit=2)
    append(shard, log_of(members(5, 6, 7), after=shard.store.end), commit=99)

    assert shard.store.end.index == 100
    assert known(shard, restarts=restarts, commit=99) == [members(3, 4, 5), members(5, 6, 7)]


def test_get_membership_initial(shard: Shard) -> None:
    """The shard's formation says who they are, before the log does."""
    assert remembered(shard, 0) == (FORMED, FORMED)


def test_get_membership_from_log_and_empty_sm(shard: Shard, *, restarts: bool) -> None:
    """What is in the log is in force before it is committed."""
    append(shard, log_of(members(1, 2, 3)))
    if restarts:
        shard.reopen()
    assert remembered(shard, 0) == (FORMED, members(1, 2, 3))


def test_get_membership_from_log_le_sm_last_applied(shard: Shard, *, restarts: bool) -> None:
    """Of what is committed the newest counts, and only that."""
    append(shard, log_of(1, members(3, 4, 5), members(1, 2, 3), 1))
    if restarts:
        shard.reopen()
    assert remembered(shard, 4) == (members(1, 2, 3), members(1, 2, 3))


def test_get_membership_from_log_gt_sm_last_applied_1(shard: Shard, *, restarts: bool) -> None:
    """A later one is in force, and the committed one is not forgotten."""
    append(shard, log_of(1, members(3, 4, 5)))
    append(shard, log_of(members(7, 8, 9), after=shard.store.end), commit=2)
    if restarts:
        shard.reopen()
    assert remembered(shard, 2) == (members(3, 4, 5), members(7, 8, 9))


def test_get_membership_from_log_gt_sm_last_applied_2(shard: Shard, *, restarts: bool) -> None:
    """The last of two later ones is in force; there the one before it would count as committed."""
    append(shard, log_of(1, members(3, 4, 5)))
    append(shard, log_of(members(7, 8, 9), 1, members(5, 6), after=shard.store.end), commit=2)
    if restarts:
        shard.reopen()
    assert remembered(shard, 2) == (members(3, 4, 5), members(5, 6))
    assert remembered(shard, 3) == (members(7, 8, 9), members(5, 6))


def test_get_initial_state_without_init(shard: Shard, *, restarts: bool) -> None:
    """Term 0, no vote, no entries, nothing committed."""
    store = shard.reopen() if restarts else shard.store
    assert store.hard_state == HardState()
    assert (store.start, store.end, store.durable_end) == (LOG_ORIGIN,) * 3
    assert store.term_runs == []


def test_get_initial_state_membership_from_sm_inlog_is_smaller(
    shard: Shard, *, restarts: bool
) -> None:
    """The entry is trimmed; who the members are is known all the same, until a newer one."""
    append(shard, log_of(1, members(3, 4, 5)))
    append(shard, log_of(40, after=shard.store.end), commit=2)
    shard.perform(shard.store.plan_trim(Index(42)))
    if restarts:
        shard.reopen()
    assert remembered(shard, 42)[1] == members(3, 4, 5)


def test_get_initial_state_membership_from_log_insm_is_smaller(
    shard: Shard, *, restarts: bool
) -> None:
    """One behind the trim stands over one before it."""
    append(shard, log_of(1, members(3, 4, 5), 40))
    shard.perform(shard.store.plan_trim(Index(42)))
    append(shard, log_of(members(1, 2, 3), after=shard.store.end), commit=42)
    if restarts:
        shard.reopen()
    assert remembered(shard, 42)[1] == members(1, 2, 3)
