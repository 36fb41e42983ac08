"""The broker's side of one shard, put together: machine, its files, use-cases.

A machine must be as far as its files reach before its replica is made, because
replay begins after ``machine.applied``; the use-cases need the replica.
So there are two steps::

    shard = BrokerShard.restore(files, path, ...)          before the replica
    service = shard.serve(replica, ...)                    once there is one
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from raftlog.base.errors import BadRequest, NotLeader, RaftlogError
from raftlog.base.ids import INDEX_ZERO, Index, NodeId
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.ranges import parse_range
from raftlog.node.ports import Reader, Scheduler
from raftlog.node.replica import Replica
from raftlog.node.scrub import Check
from raftlog.service.admission import Admission
from raftlog.service.blocked import blocked_alarm
from raftlog.service.bodies import BodyReader
from raftlog.service.burying import Burying
from raftlog.service.checks import CheckService
from raftlog.service.claims import ClaimService
from raftlog.service.copying_forward import CopyingForward
from raftlog.service.delays import DelayService
from raftlog.service.draining import DrainService
from raftlog.service.filtering import FilterService
from raftlog.service.find import FindService
from raftlog.service.footprint import Footprint
from raftlog.service.group_lag import lag_counters
from raftlog.service.groups import GroupService
from raftlog.service.handlers import ShardService
from raftlog.service.heartbeats import HeartbeatService
from raftlog.service.install_source import InstallSource
from raftlog.service.installing import Installer
from raftlog.service.leases import LeaseService
from raftlog.service.levelling import Levelling
from raftlog.service.members import MemberService
from raftlog.service.passing_time import PassingTime
from raftlog.service.produce import ProduceService
from raftlog.service.producers import ProducerService
from raftlog.service.quotas import QuotaService
from raftlog.service.read import ReadService
from raftlog.service.receiving import ReceiveService
from raftlog.service.reign import Reign
from raftlog.service.relocating import Relocating
from raftlog.service.retention import RetentionService
from raftlog.service.sealed import IndexFiles, SealedRanges
from raftlog.service.sessions import Sessions
from raftlog.service.snapshot import Snapshots, find_snapshot
from raftlog.service.status import (
    NodeFacts,
    log_space,
    machine_sizes,
    node_status,
    service_counters,
)
from raftlog.service.topics import TopicService
from raftlog.service.tracing import TraceService
from raftlog.service.transactions import TransactionService
from raftlog.service.trimming import LogTrimming
from raftlog.service.unread import UnreadTimes
from raftlog.storage.files import Files
from raftlog.storage.offset_index import OffsetIndex
from raftlog.storage.snapshot_store import KEPT, SnapshotStore
from raftlog.wire.schema import client


class BrokerShard:
    """A shard's machine and the files of its index and its tables."""

    def __init__(
        self, machine: BrokerMachine, index: IndexFiles, snapshots: SnapshotStore
    ) -> None:
        self.machine: Final = machine
        self._index = index
        self._snapshots = snapshots

    @classmethod
    def restore(
        cls,
        files: Files,
        path: str,
        start: Index,
        through: Index,
        committed: Index = INDEX_ZERO,
    ) -> "BrokerShard":
        """Make a machine from what is stored under the shard's folder. Blocks.

        ``start`` and ``through`` are where the log on this disk begins and ends, ``committed``
        is how far it is known to be committed. What the newest usable snapshot does not have
        is replayed.

        Raises:
            IncompatibleFormat: A newer raftlog wrote an index file or a snapshot.
        """
        index: IndexFiles = OffsetIndex(files, f"{path}/index", parse_range)
        snapshots = SnapshotStore(files, f"{path}/snapshot")
        machine = BrokerMachine()
        found = find_snapshot(snapshots, index.chain, start, through, fetched=committed)
        if found is not None:
            snapshots.use(found.snapshot.index, fetched=found.fetched)
            machine.restore(found.ranges, found.snapshot)
        return cls(machine, index, snapshots)

    def serve(
        self,
        replica: Replica,
        reader: Reader,
        scheduler: Scheduler,
        facts: NodeFacts,
        *,
        durability: str,
        counters: Callable[[], Mapping[str, int]],
        on_failed: Callable[[Exception], None],
    ) -> ShardService:
        """Make the use-cases of ``replica``, whose machine this shard's is.

        Args:
            replica: The shard's replica on this node.
            reader: The reader thread: it loads and stores index ranges and tables, too.
            scheduler: For everything that waits.
            facts: What the node says about itself.
            durability: What an acknowledgement means, in its own word.
            counters: The node's other counters, for the status.
            on_failed: Told when a file could not be written: the node stops.
        """
        assert replica.machine is self.machine, "the replica feeds another machine"
        machine, kept = self.machine, self._keep(replica, reader, scheduler, on_failed)
        ranges, sessions = kept.ranges, Sessions(replica, machine, scheduler)
        admission, find = Admission(machine, scheduler), FindService(replica, machine, ranges)
        produce = ProduceService(replica, machine, admission)
        bodies = BodyReader(replica.store, reader, replica)
        read = ReadService(replica, machine, bodies, ranges, scheduler)
        filters, footprint = FilterService(read, reader), Footprint(machine, scheduler)
        heartbeats = HeartbeatService(replica, machine, sessions, scheduler)
        known, unread = (facts.level_of, replica.members.is_alive), UnreadTimes(machine, ranges)
        time = PassingTime(replica, machine, scheduler)
        relocating, copying = _movers(replica, machine, (ranges, bodies), scheduler)
        receiving, burying = ReceiveService(read, reader, filters), Burying(read, reader)
        checks = CheckService(replica, machine, bodies, time, scheduler)
        lags = lag_counters(machine, unread, scheduler, replica.clock.now_ms)
        reign = Reign(
            *(sessions, heartbeats, kept.retention(machine, scheduler), time, relocating),
            *(copying, checks, receiving, burying, Levelling(replica, machine, scheduler, *known)),
        )
        sizes = partial(machine_sizes, machine), partial(service_counters, produce, filters)
        more = admission.counters, reign.counters, kept.counters, *lags
        counted = partial(_merged, counters, *sizes, *more)
        return ShardService(
            produce=produce,
            delays=DelayService(replica, machine, admission),
            transactions=TransactionService(replica, machine, admission),
            checks=checks,
            read=read,
            filters=filters,
            tracing=TraceService(read, reader, replica.upkeep.reader),
            find=find,
            topics=TopicService(replica, machine, footprint),
            producers=ProducerService(replica),
            quotas=QuotaService(replica, machine, admission),
            groups=GroupService(replica, machine, sessions, unread, replica.clock.now_ms),
            claims=ClaimService(replica, machine),
            heartbeats=heartbeats,
            leases=LeaseService(replica, machine, unread, replica.clock.now_ms),
            receiving=receiving,
            members=MemberService(replica),
            status=lambda: _status(replica, facts, counted(), machine, (burying, receiving)),
            space=lambda: log_space(footprint.space()),
            transfer=partial(_hand_over, replica),
            role_changed=reign.role_changed,
            stop=partial(_stop, reign, ranges, kept.snapshots),
            durability=durability,
            drain=DrainService(replica),
            scrub=replica.upkeep.scrubber.scrub_now,
        )

    def _keep(
        self,
        replica: Replica,
        reader: Reader,
        scheduler: Scheduler,
        on_failed: Callable[[Exception], None],
    ) -> "_Kept":
        """Store what the machine seals and freezes, whenever more is applied or stored."""
        ranges = SealedRanges(
            *(self.machine, self._index, reader, scheduler),
            durable=lambda: replica.store.durable_end.index,
            fetch=replica.upkeep.exchange.fetch,
            on_failed=on_failed,
        )
        snapshots = Snapshots(
            *(self.machine, self._snapshots, reader, scheduler),
            is_durable=ranges.are_stored,
            fetch=replica.upkeep.exchange.fetch,
            on_failed=on_failed,
        )

        def progress(_applied: Index) -> None:
            ranges.progress()
            snapshots.progress()

        def checks() -> list[Check]:
            stored = [each for each in self.machine.ranges if ranges.are_stored(each.last_index)]
            looks: list[Check] = [partial(ranges.verify, each) for each in stored]
            return looks + [partial(snapshots.verify, age) for age in range(KEPT)]

        replica.upkeep.scrubber.files = checks
        ranges.on_stored = snapshots.progress
        replica.on_applied(progress)
        return self._exchange(replica, reader, scheduler, on_failed, (ranges, snapshots))

    def _exchange(
        self,
        replica: Replica,
        reader: Reader,
        scheduler: Scheduler,
        on_failed: Callable[[Exception], None],
        writers: tuple[SealedRanges, Snapshots],
    ) -> "_Kept":
        """Trim what snapshots make dispensable; give them to peers, and take theirs."""
        ranges, snapshots = writers
        source = InstallSource(
            *(self._snapshots, self._index, reader, scheduler, replica.keeping.pace),
            start=lambda: (replica.store.start, replica.core.committed_membership.encode()),
            send=replica.keeping.send,
        )
        trimming = LogTrimming(
            *(replica, replica.keeping.trim, self.machine, self._index, reader),
            is_held=lambda: source.serves,
            is_writing=lambda: snapshots.is_writing,
            on_failed=on_failed,
        )

        def kept(index: Index, trimmed: Index) -> None:
            source.snapshot_kept(index, trimmed)
            trimming.snapshot_kept(index, trimmed)

        def restored(index: Index, trimmed: Index) -> None:
            ranges.restored()
            snapshots.restored()
            kept(index, trimmed)

        if self.machine.applied:
            kept(self.machine.applied, self.machine.trimmed)
        snapshots.on_written = kept
        installer = Installer(
            *(replica, self.machine, reader, scheduler, source),
            on_restored=restored,
            on_failed=on_failed,
        )
        replica.keeping.installs = installer
        installer.begin()
        return _Kept(replica, ranges, snapshots, trimming, installer, source)


class _Kept(msgspec.Struct, frozen=True):
    """What a shard's files are kept by."""

    replica: Replica
    ranges: SealedRanges
    snapshots: Snapshots
    trimming: LogTrimming
    installer: Installer
    source: InstallSource

    def retention(self, machine: BrokerMachine, scheduler: Scheduler) -> RetentionService:
        """Return what makes ranges dispensable, to be followed by their trim."""
        service = RetentionService(self.replica, machine, self.ranges, scheduler)
        service.on_walked = self.trimming.propose
        return service

    def counters(self) -> Mapping[str, int]:
        """Return what was counted."""
        return {
            "snapshots_written": self.snapshots.written,
            "snapshots_installed": self.installer.installed,
            "install_bytes_sent": self.source.bytes_sent,
            "log_trims": self.trimming.trims,
        }


def _status(
    replica: Replica,
    facts: NodeFacts,
    counters: Mapping[str, int],
    machine: BrokerMachine,
    watched: Sequence[Burying | ReceiveService],
) -> client.NodeStatus:
    alarms = list(replica.upkeep.alarms.raised)
    parked = machine.state.transactions.parked
    if parked:
        alarms.append(
            f"{parked} half messages are parked: no checker could say what became of them; "
            "decide each: raftlog transactions list --parked"
        )
    alarms += [alarm for each in watched if (alarm := each.alarm) is not None]
    if replica.leads and (blocked := blocked_alarm(machine)) is not None:
        alarms.append(blocked)
    return node_status(
        *(facts, replica.status(), replica.core.membership, counters),
        *(alarms, replica.members.drained),
    )


def _movers(
    replica: Replica,
    machine: BrokerMachine,
    files: tuple[SealedRanges, BodyReader],
    scheduler: Scheduler,
) -> tuple[Relocating, CopyingForward]:
    """Return what copies batches to the log's end, so that old ranges can go."""
    ranges, bodies = files
    return (
        Relocating(replica, machine, bodies, scheduler),
        CopyingForward(replica, machine, ranges, bodies, scheduler),
    )


def _merged(*sources: Callable[[], Mapping[str, int]]) -> dict[str, int]:
    return {name: count for source in sources for name, count in source().items()}


def _stop(reign: Reign, ranges: SealedRanges, snapshots: Snapshots) -> None:
    reign.stop()
    ranges.stop()
    snapshots.stop()


def _hand_over(replica: Replica, target: NodeId | None) -> RaftlogError | None:
    if not replica.leads:
        return NotLeader(replica.leader)
    if target in replica.members.drained and target != replica.id.node:
        return BadRequest(
            f"{target} is drained, so it leads only if nobody else can; take that back: raftlog "
            f"node drain --node {target} --undo"
        )
    replica.transfer(target)
    return None
