"""What a replica knows when it starts: what its disk and its machine remember."""

from raftlog.base.errors import DamagedLog
from raftlog.base.ids import Index, ShardId
from raftlog.base.membership import Configuration, Membership, decode_membership
from raftlog.node.ports import Machine
from raftlog.raft.config import Restored
from raftlog.storage.configurations import newest_of
from raftlog.storage.log_store import HARD_STATE, LogStore


def newest_membership(store: LogStore, membership: Membership) -> Membership:
    """Return the newest configuration of the log, or ``membership`` if it has none.

    Raises:
        CorruptFrame: A configuration entry is not one of this version.
    """
    return newest_of(store.configurations, membership)


def refuse_older_term(store: LogStore) -> None:
    """Check that the term is not older than the log, whose entries came after it was durable.

    Raises:
        DamagedLog: A later term is lost, and perhaps a vote in it.
    """
    term, end = store.hard_state.term, store.end
    if term < end.term:
        raise DamagedLog(
            f"{store.directory}/{HARD_STATE} knows no term after {term}, but entry {end.index} of "
            f"the log is of term {end.term}: a disk took back what it had confirmed; copy the "
            f"data directory away and let the node join as new"
        )


def what_needs_peers(shard: ShardId, store: LogStore, machine: Machine) -> str:
    """Return what is missing here that only a peer can have; "" if nothing is."""
    if store.faulty_count:
        ranges = ", ".join(f"{first} to {last}" for first, last in store.faulty_ranges()[:3])
        count = store.faulty_count
        return f"{count} entries of shard {shard} are damaged (of {ranges})"
    if machine.applied < store.start.index:
        return (
            f"the log of shard {shard} begins behind {store.start.index} and no snapshot here "
            "leads to it"
        )
    return ""


def recollect(store: LogStore, machine: Machine, membership: Membership) -> Restored:
    """Return what the disk and the machine remember; what is applied was committed.

    ``membership`` is the one of the formation: what the log says stands over it.

    Raises:
        CorruptFrame: A configuration entry is not one of this version.
    """
    return Restored(
        hard_state=store.hard_state,
        start=store.start,
        end=store.end,
        term_runs=tuple(store.term_runs),
        commit=Index(max(store.commit_hint, machine.applied)),
        applied=machine.applied,
        membership=membership,
        configurations=tuple(
            Configuration(row.index, decode_membership(row.body)) for row in store.configurations
        ),
        # Without the state before its first entry a log is of no more use than with a hole.
        faulty=store.faulty_count + (machine.applied < store.start.index),
    )
