"""What a node says about one shard: what its replica believes now, and its counters.

Asking costs nothing and is never linearizable. Counters only rise while the
process lives, but for those whose name says what they are a size of; bench and
metrics read the same ones.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from raftlog.base.ids import ClusterId, NodeId, ReplicaId
from raftlog.base.membership import Membership
from raftlog.broker.machine import BrokerMachine
from raftlog.raft.config import CoreStatus
from raftlog.service.filtering import FilterService
from raftlog.service.footprint import LogSpace
from raftlog.service.produce import ProduceService
from raftlog.service.topic_handlers import log_hold
from raftlog.wire.schema import client

Counters = Callable[[], Mapping[str, int]]


HINDRANCES = ("throttled", "quota_exceeded", "disk_full")
"""Why a batch is refused that may come later."""


class NodeFacts(msgspec.Struct, frozen=True):
    """What does not change while a node runs, and whom it can name."""

    cluster: ClusterId
    node: NodeId
    address_of: Callable[[NodeId], str]
    """Where clients reach a node (``host:port``), "" if unknown."""
    shards: int = 1
    level_of: Callable[[ReplicaId], int] = lambda _: 0
    """The highest feature level that another member has said it can apply; 0: it said nothing."""


def node_status(
    facts: NodeFacts,
    core: CoreStatus,
    membership: Membership,
    counters: Mapping[str, int],
    alarms: Sequence[str] = (),
    drained: Sequence[NodeId] = (),
) -> client.NodeStatus:
    """Return the answer to ``GetStatus``."""
    leader = NodeId(core.leader or "")
    return client.NodeStatus(
        cluster=facts.cluster,
        node=facts.node,
        role=core.role,
        term=core.term,
        leader=leader,
        leader_address=facts.address_of(leader) if leader else "",
        start=core.start,
        commit=core.commit,
        applied=core.applied,
        last=core.last,
        durable=core.durable,
        voters=[replica.node for replica in membership.voters],
        counters=dict(counters),
        alarms=alarms,
        directory=core.replica.directory,
        learners=[replica.node for replica in membership.learners],
        shards=facts.shards,
        drained=drained,
        recovery=_recovery(membership),
        preferred=membership.preferred,
    )


def _recovery(membership: Membership) -> client.ForcedRecovery | None:
    found = membership.recovery
    if found is None:
        return None
    lost = [f"{each.node}/{each.directory}" for each in found.lost]
    return client.ForcedRecovery(
        index=found.index, wall_ms=found.wall_ms, node=found.by.node, lost=lost
    )


def log_space(space: LogSpace) -> client.LogSpace:
    """Return what takes space, as clients are told."""
    return client.LogSpace(
        largest=[client.TopicBytes(topic=name, bytes=size) for name, size in space.largest],
        bytes=space.bytes,
        hold=None if space.hold is None else log_hold(space.hold),
    )


def service_counters(produce: ProduceService, filters: FilterService) -> dict[str, int]:
    """Return what the use-cases of one shard counted."""
    read = filters.read_service
    return {
        "append_batches": produce.batches,
        "append_duplicates": produce.duplicates,
        "append_refused": produce.refused,
        **{f"append_refused_{code}": produce.hindered[code] for code in HINDRANCES},
        "reads": read.reads,
        "reads_from_file": read.bodies.reads,
        "reads_filtered": filters.reads,
        "filter_batches_looked_at": filters.batches_looked_at,
        "filter_batches_served": filters.batches_served,
        "reads_waiting_size": len(read.waiting),
    }


def machine_sizes(machine: BrokerMachine) -> dict[str, int]:
    """Return how much the machine of one shard holds."""
    return {
        "index_ranges_size": machine.range_count,
        "topics_size": len(machine.topics.table),
        "queues_size": len(machine.queues.table),
        "producers_size": len(machine.producers.table),
        "groups_size": len(machine.groups.table),
        "members_size": len(machine.groups.members),
        "claims_size": len(machine.claims.table),
        "hidden_size": len(machine.hidden),
        "survivors_size": len(machine.survivors),
        "delayed_size": len(machine.delays),
        "queue_groups_size": len(machine.leasing.groups.table),
        "in_flight_size": len(machine.leasing.flights.table),
        "in_flight_blocked_size": len(machine.leasing.flights.blocked),
        "delayed_cancelled_size": len(machine.delays.cancelled),
        "transactors_size": len(machine.state.transactors.table),
        "transactions_open_size": len(machine.state.transactions),
        "transactions_parked_size": machine.state.transactions.parked,
        "transactions_staged_size": len(machine.state.staging),
        "decisions_size": len(machine.state.decisions.table),
        "business_ids_size": len(machine.state.ids.table),
    }
