"""What a node counts about one shard, by the names that bench and status read.

Counters only rise while the process lives. A name that ends in ``_size`` is
how much there is now.
"""

from raftlog.base.clock import SystemClock
from raftlog.node.replica import Replica
from raftlog.transport.mesh import Mesh


def counters(replica: Replica, mesh: Mesh) -> dict[str, int]:
    """Return the counters of a shard's replica and of the node's links."""
    store = replica.store
    upkeep = replica.upkeep
    return {
        "fdatasyncs": store.fdatasyncs,
        "bytes_written": store.bytes_written,
        "write_units": store.unit_number,
        "hard_state_writes": store.hard_sequence,
        "faulty_entries_size": store.faulty_count,
        "entries_repaired": upkeep.repairer.repaired,
        "files_repaired": upkeep.exchange.fetched,
        "scrub_passes": upkeep.scrubber.passes,
        "scrub_bytes": upkeep.scrubber.bytes,
        "scrub_found": upkeep.scrubber.found,
        "scrub_running_size": int(upkeep.scrubber.is_running),
        "disk_level_size": int(replica.disk_level),
        "disk_stalled_size": int(replica.disks.is_stalled(SystemClock.now_ns())),
        "disk_handovers": replica.disks.handovers,
        "leased_reads": replica.core.leased_reads,
        "wished_handovers": replica.yielding.handovers,
        "log_first_index": store.first_index,
        "memory_tail_bytes_size": replica.core.log.tail_bytes,
        "messages_received": mesh.server.messages,
        "peer_connections_refused": mesh.server.refused_connections,
    }
