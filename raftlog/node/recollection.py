"""What a replica knows when it starts: what its disk and its machine remember."""

from raftlog.base.ids import Index, ShardId
from raftlog.base.membership import Configuration, Membership, decode_membership
from raftlog.node.ports import Machine
from raftlog.raft.config import Restored
from raftlog.storage.log_store import LogStore


def newest_membership(store: LogStore, membership: Membership) -> Membership:
    """Return the newest configuration of the log, or ``membership`` if it has none.

    Raises:
        CorruptFrame: A configuration entry is not one of this version.
    """
    rows = store.configurations
    return decode_membership(rows[-1].body) if rows else membership


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
