"""The simulated cluster: machines, the network between them, processes that start and end.

Starting a process is what a node does: open the store on what the disk has
left, make a new state machine and a new replica. Ending one is a kill, with
the power cut or without.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final

from chaos.check.liveness import ReplicaView
from chaos.check.log_model import Mark
from chaos.check.log_time import LogTime
from chaos.check.promises_durable import DurableState
from chaos.check.violation import Violation
from chaos.sim.binaries import Binaries
from chaos.sim.clocks import WallClock, true_ms
from chaos.sim.disk import CrashKind, Killed, SimDisk
from chaos.sim.events import MS_NS, EventQueue, stream
from chaos.sim.faults import Fault
from chaos.sim.hellos import Hellos
from chaos.sim.network import Network
from chaos.sim.observer import Observer
from chaos.sim.process import (
    DiskPace,
    Life,
    Machine,
    Process,
    SimPeers,
    SimReader,
    SimWriter,
    view_of,
)
from chaos.sim.promises import check_disk_behind
from chaos.sim.states import BrokerState, HistoryState, State
from chaos.sim.swarm import SeedConfig
from raftlog.base.entry import CHAIN_ORIGIN, Entry, EntryKind, seal
from raftlog.base.errors import (
    ApplyFailed,
    DamagedLog,
    FaultyEntry,
    NoRoom,
    RolledBack,
    StorageFailed,
    WritesLost,
)
from raftlog.base.ids import ClusterId, DirectoryId, Index, NodeId, ReplicaId
from raftlog.base.membership import NOBODY, Membership
from raftlog.base.writes import Write
from raftlog.node.recollection import refuse_older_term
from raftlog.node.replica import Replica
from raftlog.node.world import ReplicaOptions, World
from raftlog.raft.rpcs import AppendRequest, PeerMessage
from raftlog.storage.cached_writes import CachedWrites, newest_named, refuse_unless_alone
from raftlog.storage.directory import FIRST_TERM, format_directory, format_learner
from raftlog.storage.identity import DIRECTORY_FORMAT, Identity
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.plan import StorePlan

CLUSTER: Final = ClusterId("c" * 32)
DATA: Final = "/data"
SHARD: Final = "/data/shards/0"
SCRUB_REST_NS: Final = 3_000 * MS_NS
SCRUB_BYTES_PER_S: Final = 8 << 20
DEEP_CHECK_SHARE: Final = 0.004
"""How many promises are also checked by recovering a copy of the disk."""


class Cluster:
    """Machines by node, and everything that they share."""

    def __init__(self, config: SeedConfig) -> None:
        self.config = config
        self.queue = EventQueue()
        self.process_random = stream(config.seed, "process")
        self.disk_random = stream(config.seed, "disk")
        network_random = stream(config.seed, "network")
        self.network = Network(
            *(self.queue, network_random, config.network, self._deliver), self._note
        )
        self.store_options = StoreOptions(config.segment_bytes, durable=not config.os_cache)
        self._formatting = StoreOptions(config.segment_bytes)
        names = [NodeId(f"n{number + 1}") for number in range(config.nodes)]
        self._replicas = tuple(
            ReplicaId(name, DirectoryId(f"{n:032x}")) for n, name in enumerate(names)
        )
        self._directories = len(self._replicas)
        self.membership = Membership(self._replicas)
        first = seal(
            *(EntryKind.CONFIGURATION, FIRST_TERM, Index(1), CHAIN_ORIGIN),
            [self.membership.encode()],
        )
        self.observer = Observer(
            *(self._replicas, first),
            broker=config.broker is not None,
            log_time=LogTime(majority_is_right=config.clocks_are_right),
            now_ms=partial(true_ms, self.queue),
        )
        self.marks = self.observer.marks
        self.machines = {replica.node: self._make_machine(replica) for replica in self._replicas}
        self.wrong_clocks = frozenset(
            stream(config.seed, "clocks").sample(names, config.wrong_clocks)
        )
        self.on_renewed: Callable[[], None] = lambda: None
        """Told when a node has a new directory, which is no member yet."""
        self.on_rolled_back: Callable[[Machine], None] = lambda _: None
        """Told of a node whose directory a peer has found older than its promises."""
        self.on_end: Callable[[Machine, CrashKind], list[Write]] = lambda *_: []
        """Told before a disk crashes; returns what it takes back of what it had confirmed."""
        self.on_opened: Callable[[Machine, LogStore], None] = lambda *_: None
        """Told what a start has found on a disk."""
        goes_back = {Fault.OLD_BACKUP, Fault.LOST_WRITE} & config.periods_ns.keys()
        self._hellos = Hellos(CLUSTER) if goes_back else None
        self._binaries = Binaries(config, self.marks)
        victims = stream(config.seed, "victims").sample(names, config.victims)
        for name in victims:
            self.machines[name].victim = True

    @property
    def nodes(self) -> Sequence[NodeId]:
        """All names, in a fixed order."""
        return list(self.machines)

    def _note(self, what: str) -> None:
        self.marks[what] += 1

    def process_of(self, node: NodeId) -> Process | None:
        """Return the process on ``node``, if one runs."""
        return self.machines[node].process

    def up(self) -> list[Machine]:
        """Return the machines on which a process runs."""
        return [machine for machine in self.machines.values() if machine.process is not None]

    def leading(self) -> list[Process]:
        """Return the processes that believe to lead."""
        return [
            machine.process
            for machine in self.machines.values()
            if machine.process is not None and machine.process.replica.leads
        ]

    def _make_machine(self, replica: ReplicaId) -> Machine:
        config = self.config
        disk = SimDisk()
        identity = Identity(
            *(DIRECTORY_FORMAT, CLUSTER, replica.node, replica.directory),
            (self.membership,),
        )
        format_directory(disk.files(), DATA, identity, self._formatting)
        # A directory is formed long before it is used.
        disk.crash(self.disk_random, CrashKind.LOSE)
        drift = self.process_random.randint(-config.drift_ppm, config.drift_ppm)
        clock = WallClock(self.queue, self.process_random.randint(-50, 50))
        pace = DiskPace(self.disk_random, config.disk_ns)
        return Machine(replica, self.membership, disk, pace, drift, clock)

    @property
    def replicas(self) -> Sequence[ReplicaId]:
        """Each node with the directory that it has now."""
        return [machine.id for machine in self.machines.values()]

    def renew(self, machine: Machine) -> None:
        """Replace a disk that is gone by a new one: a new, empty learner's (``--join``)."""
        assert machine.process is None, f"{machine.node} runs on its disk"
        self._directories += 1
        machine.disk.wipe()
        machine.id = format_learner(
            *(DATA, CLUSTER, machine.node),
            options=self._formatting,
            files=machine.disk.files(),
            draw=lambda: f"{self._directories:032x}",
        )
        machine.disk.crash(self.disk_random, CrashKind.LOSE)
        machine.formed = NOBODY
        machine.in_flight = []
        self.network.forget(machine.node)
        self.observer.renewed(machine.node)
        self.on_renewed()

    def put_back(self, machine: Machine, backup: SimDisk, durable: DurableState) -> None:
        """Put an old copy of its directory under a node that does not run."""
        assert machine.process is None, f"{machine.node} runs on its disk"
        machine.disk.put_back(backup)
        machine.in_flight = []
        # What it said last came before its connections closed, or never.
        self.network.forget(machine.node)
        self.observer.goes_back(machine.node, durable)

    # -- processes

    def start(self, machine: Machine, in_flight: Sequence[Write] = ()) -> None:
        """Start a process on a machine that has none."""
        assert machine.process is None, f"{machine.node} runs already"
        armed = machine.disk.on_operation is not None
        if self.config.os_cache:
            in_flight = self._heed_boot(machine, in_flight)
        try:
            store = LogStore.open(machine.disk.files(), SHARD, self.store_options)
            refuse_older_term(store)
            state = self._make_state(machine.id, store)
        except (Killed, StorageFailed) as error:
            if not armed and isinstance(error, StorageFailed) and error.operation == "pread":
                self._refused_to_start(machine, error)
                return
            if not armed:
                raise Violation("recovery", f"{machine.node} cannot start: {error}") from error
            self.marks["crashes in recovery"] += 1
            self._power_off(machine, in_flight)
            return
        except DamagedLog as error:
            self._refused_to_start(machine, error)
            return
        if store.faulty_count and not machine.victim:
            where = store.faulty_ranges()
            raise Violation("recovery", f"{machine.node}: a good disk has damage at {where}")
        self.on_opened(machine, store)
        self._begin(machine, store, state, in_flight)

    def _heed_boot(self, machine: Machine, in_flight: Sequence[Write]) -> Sequence[Write]:
        """Begin under os-cache, as ``node.Host`` does; who may have lost writes comes as new."""
        noted = CachedWrites(machine.disk.files(), DATA, f"boot {machine.boot}")
        if noted.lost:
            named = newest_named(machine.disk.files(), SHARD, machine.formed)
            try:
                refuse_unless_alone(DATA, [named], machine.node)
            except WritesLost:
                self.marks["reboots under os-cache"] += 1
            else:
                raise Violation("recovery", f"{machine.node} has lost writes, and would vote")
            self.renew(machine)
            in_flight = ()
        noted = CachedWrites(machine.disk.files(), DATA, f"boot {machine.boot}")
        noted.begin([SHARD], durable=False)
        return in_flight

    def _make_state(self, replica: ReplicaId, store: LogStore) -> State:
        """Make what the replica will feed, as far as the disk has kept it."""
        node = replica.node

        def on_apply(entry: Entry, digest: bytes, outcomes: Sequence[object]) -> None:
            self.queue.note(digest)
            self.observer.applies(node, entry, digest, outcomes)

        if self.config.broker is None:
            return HistoryState(on_apply)
        observer = self.observer
        state = BrokerState(
            *(node, store, SHARD, on_apply),
            on_state=lambda index, digest: observer.has_state(node, index, digest),
            on_restored=lambda index: observer.restored(node, index),
            binary=self._binaries.begin(replica),
        )
        if state.machine.applied:
            self.marks["states restored"] += 1
        return state

    def _begin(
        self, machine: Machine, store: LogStore, state: State, in_flight: Sequence[Write]
    ) -> None:
        node = machine.node
        random = self.process_random
        life = Life(self.queue, machine.drift_ppm, machine.clock)
        writer = SimWriter(
            *(self.queue, life, machine.pace),
            on_performed=lambda plan, error: self._performed(machine, plan, error),
            on_killed=lambda plan: self._killed_in(machine, plan),
        )
        reader = SimReader(
            *(self.queue, life, machine.pace), on_killed=lambda: self._killed_reading(machine)
        )
        world = World(
            scheduler=life,
            writer=writer,
            reader=reader,
            peers=SimPeers(
                *(life, store, machine.space), lambda to, message: self._send(machine, to, message)
            ),
            random=Random(random.getrandbits(64)),
            space=machine.space,
        )
        options = ReplicaOptions(core=self.config.core, coalesce=self.config.coalesce)
        replica = Replica(machine.id, machine.formed, store, state.machine, world, options)
        replica.upkeep.scrubber.rest_ns = SCRUB_REST_NS
        replica.upkeep.scrubber.rate = SCRUB_BYTES_PER_S
        seen = self._look_at(machine, store, store.faulty_ranges())
        self.observer.restarts(node, replica, in_flight, seen)
        self.marks["starts"] += 1
        machine.in_flight = []
        machine.process = Process(life, replica, state, writer, self.marks["starts"])
        replica.on_failed = lambda error: self._failed(machine, error)
        state.serve(replica, reader, life, replica.fail)
        replica.start()

    def _look_at(
        self, machine: Machine, store: LogStore, faulty: Sequence[tuple[Index, Index]]
    ) -> list[Mark | None]:
        """Return what a look at some places of the log shows; its end always."""
        end = store.end
        if not end.index:
            return []
        seen: list[Mark | None] = [None] * end.index
        first = Index(self.process_random.randint(1, end.index))
        if first >= store.first_index and not any(low <= first <= high for low, high in faulty):
            span = store.locate(first, end.index, 4_000)
            try:
                buffer = span.read(wait=True)
                for entry in span.entries(buffer) if buffer is not None else ():
                    seen[entry.index - 1] = Mark(entry.term, entry.checksum)
            except (FaultyEntry, OSError):  # it cannot be read; the log will have it repaired
                if not machine.victim:
                    raise
                self.marks["faulty found"] += 1
            finally:
                span.close()
        seen[-1] = Mark(end.term, end.checksum)
        return seen

    def _refused_to_start(self, machine: Machine, error: Exception) -> None:
        """Damage beyond repair stops a node; that is right only where damage was done."""
        if not machine.victim:
            raise Violation("recovery", f"{machine.node} refuses to start: {error}")
        self.marks["refused to start"] += 1
        if Fault.LOST_WRITE in self.config.periods_ns:  # somebody does what the error says
            self.renew(machine)
            self.restart_later(machine)
        else:
            machine.stays_down = True

    def end(self, machine: Machine, kind: CrashKind, in_flight: Sequence[Write] = ()) -> None:
        """Kill the process; unless ``kind`` is KEEP, cut the power too."""
        process = machine.process
        if process is None:
            return
        taken_back = self.on_end(machine, kind)
        process.life.end()
        process.state.end()
        self._count_work(process)
        if process.replica.yielding.handovers:
            self.marks["handed over by wish"] += process.replica.yielding.handovers
        if process.replica.disks.handovers:
            self.marks["handed over for the disk"] += process.replica.disks.handovers
        machine.process = None
        # A plan that failed counts, even if its process was killed before it heard of that.
        machine.in_flight = [*taken_back, *(in_flight or machine.failed_plan)]
        machine.failed_plan = []
        machine.disk.crash(self.disk_random, kind)
        machine.boot += kind is not CrashKind.KEEP
        self.observer.ends(machine.node)
        self._tell_of_lost_connections(machine.node)

    def _count_work(self, process: Process) -> None:
        upkeep = process.replica.upkeep
        counted = {
            "repairs": upkeep.repairer.repaired,
            "files repaired": upkeep.exchange.fetched,
            "scrub passes": upkeep.scrubber.passes,
            "scrub finds": upkeep.scrubber.found,
            "leased reads": process.replica.core.leased_reads,
        }
        for what, count in counted.items():
            if count:
                self.marks[what] += count

    def _power_off(self, machine: Machine, in_flight: Sequence[Write]) -> None:
        """The process ended before it had begun to live."""
        machine.in_flight = list(in_flight)
        kind = self.disk_random.choice(list(CrashKind))
        self.on_end(machine, kind)
        machine.disk.crash(self.disk_random, kind)
        self.restart_later(machine)

    def restart_later(self, machine: Machine) -> None:
        """Start a process after a while, unless somebody does it before."""
        if machine.restart_due or machine.stays_down:
            return
        machine.restart_due = True
        random = self.process_random
        longest = 3_000 if random.random() < 0.3 else 400
        self.queue.after(random.randrange(10, longest) * MS_NS, lambda: self.restart(machine))

    def restart(self, machine: Machine) -> None:
        """Start a process that was due, if none runs."""
        machine.restart_due = False
        if machine.process is None and not machine.stays_down:
            self.start(machine, machine.in_flight)

    def _tell_of_lost_connections(self, gone: NodeId) -> None:
        for other in self.up():
            if self.process_random.random() < 0.7 and (gone, other.node) not in (
                self.network.blocked
            ):
                self.connection_lost(other, gone)

    def connection_lost(self, machine: Machine, gone: NodeId) -> None:
        """Tell a process that its connection to ``gone`` ended (a hint, perhaps false)."""
        process = machine.process
        if process is not None:
            self.marks["hints"] += 1
            delay_ns = self.process_random.randrange(20 * MS_NS)
            process.life.call_later(delay_ns, lambda: process.replica.connection_lost(gone))

    # -- what processes do

    def _performed(self, machine: Machine, plan: StorePlan, error: Exception | None) -> None:
        if error is None:
            self.observer.performed(machine.node, plan.last_write)
            machine.failed_plan = []
        elif isinstance(error, NoRoom):
            # It will be tried again; its first steps may be on disk when the process ends before.
            self.marks["no room"] += 1
            machine.failed_plan = self.observer.writes_up_to(machine.node, plan.last_write)
        else:
            self.marks["write errors"] += 1
            machine.failed_plan = self.observer.writes_up_to(machine.node, plan.last_write)

    def _killed_in(self, machine: Machine, plan: StorePlan) -> None:
        self.marks["crashes in writes"] += 1
        in_flight = self.observer.writes_up_to(machine.node, plan.last_write)
        kind = self.disk_random.choice(list(CrashKind))
        self.end(machine, kind, in_flight)
        self.restart_later(machine)

    def _killed_reading(self, machine: Machine) -> None:
        """The other thread's work, an index range or a snapshot, was not finished."""
        self.marks["crashes beside the log"] += 1
        self.end(machine, self.disk_random.choice(list(CrashKind)))
        self.restart_later(machine)

    def _failed(self, machine: Machine, error: Exception) -> None:
        """A replica stopped by itself: right after a disk error, a bug otherwise."""
        if not isinstance(error, StorageFailed):
            if isinstance(error, ApplyFailed):
                raise Violation("state_machine_safety", f"{machine.node}: {error}")
            raise error
        self.marks["stopped by itself"] += 1
        self.queue.after(0, lambda: self._end_failed(machine))

    def _end_failed(self, machine: Machine) -> None:
        if machine.process is not None and machine.process.replica.failure is not None:
            self.end(machine, CrashKind.KEEP)
            self.restart_later(machine)

    # -- messages

    def _send(self, machine: Machine, to: NodeId, message: PeerMessage) -> None:
        self.observer.sends(machine.node, to, message)
        if to == machine.node:  # a log that is behind may name its directory of before; no link
            return
        self.network.send(machine.node, to, message)
        if self.disk_random.random() < DEEP_CHECK_SHARE and not self.config.os_cache:
            check_disk_behind(
                *(machine.disk, SHARD, self.store_options, message, machine.node),
                self.observer.durable_state(machine.node),
            )

    def _deliver(self, sender: NodeId, to: NodeId, message: PeerMessage) -> None:
        process = self.machines[to].process
        if process is None:
            return
        if self._hellos is not None and not self._is_let_in(sender, to, message):
            return
        replica = self.machines[sender].id
        heard = type(message) is AppendRequest and len(message.entries) > 2
        if not process.life.hindered:  # its arrival is a turn of its own
            if heard:
                process.replica.heard(replica)
            process.replica.receive(replica, message)
            return
        if heard:
            process.life.call_soon(lambda: process.replica.heard(replica))
        process.life.call_soon(lambda: process.replica.receive(replica, message))

    def _is_let_in(self, sender: NodeId, to: NodeId, message: PeerMessage) -> bool:
        assert self._hellos is not None, "nobody says hello in this run"
        speaks = self.machines[sender]
        process = speaks.process

        def found_out() -> None:
            if speaks.process is process:
                self.on_rolled_back(speaks)

        try:
            self._hellos.admit(speaks, self.machines[to], message)
        except RolledBack:
            self.queue.after(0, found_out)
            return False
        return True

    # -- looking on

    def views(self) -> list[ReplicaView]:
        """Return what an observer sees of the processes that run."""
        return [view_of(machine) for machine in self.up()]
