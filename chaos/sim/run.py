"""One seed, from start to verdict: faults, then heal, then the demands of liveness.

The verdict is data: what failed, what was covered, and a digest that is equal
wherever and however often the seed is run.
"""

import gc
import signal
import traceback
from collections import Counter
from typing import Final

import msgspec

from chaos.check.liveness import why_not_converged
from chaos.check.log_model import Mark
from chaos.check.log_time import PATIENCE_MS
from chaos.check.violation import Violation
from chaos.sim.broker_clients import BrokerClients
from chaos.sim.clocks import true_ms
from chaos.sim.cluster import SHARD, Cluster
from chaos.sim.disk import CrashKind
from chaos.sim.events import MS_NS, SECOND_NS, stream
from chaos.sim.faults import Fault
from chaos.sim.final_look import look_at_brokers, look_at_files
from chaos.sim.guard import TouchedTheRealWorld, guarded
from chaos.sim.half_look import look_at_halves
from chaos.sim.lease_look import look_at_leases
from chaos.sim.limits import small_limits
from chaos.sim.nemesis import Nemesis
from chaos.sim.patrol import Patrol
from chaos.sim.process import Machine
from chaos.sim.swarm import SeedConfig, draw_config, is_big
from chaos.sim.waiting import demand
from chaos.sim.wish_faults import why_not_as_wished
from chaos.sim.workload import Clients
from raftlog.base.errors import DamagedLog, FaultyEntry
from raftlog.base.ids import Index
from raftlog.base.limits import READ_SPAN_BYTES_MAX
from raftlog.node.shard_clock import DISPUTED
from raftlog.node.upkeep import Upkeep
from raftlog.storage.log_store import LogStore

HEAL_NS: Final = 20 * SECOND_NS
"""In so much time after the faults a new leader must have acked new writes."""
ACKS_WANTED: Final = 3


class Verdict(msgspec.Struct, frozen=True):
    """What came of one seed."""

    seed: int
    failure: str | None
    invariant: str | None
    digest: str
    events: int
    marks: dict[str, int]
    detail: str = ""


def run_seed(seed: int) -> Verdict:
    """Run one seed. Never raises for what the simulated system does."""
    return run_config(draw_config(seed))


def run_config(config: SeedConfig) -> Verdict:
    """Run what was drawn, or made simpler."""
    return verdict_of(Run(config))


def run_quickly(config: SeedConfig) -> Verdict:
    """Run one, and look for garbage afterwards: a world of a minute is small."""
    if is_big(config.seed):
        return run_config(config)
    gc.disable()
    try:
        return run_config(config)
    finally:
        gc.enable()
        gc.collect()


def keep_what_stays() -> None:
    """Spare the garbage collector, after each run, what a process has for good: its modules."""
    gc.collect()
    gc.freeze()


def begin_worker() -> None:
    """Begin a process of a pool. Not in ``__main__``, which a spawned process doesn't have."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells all; the parent listens
    keep_what_stays()


def verdict_of(run: "Run") -> Verdict:
    """Run it; perhaps somebody watches."""
    failure = invariant = None
    detail = ""
    try:
        run.run()
    except Violation as violation:
        failure, invariant = str(violation), violation.invariant
        detail = traceback.format_exc()
    except TouchedTheRealWorld as touch:
        failure, invariant = str(touch), "guard"
        detail = traceback.format_exc()
    except Exception as error:  # noqa: BLE001  (whatever a replica raises is a finding)
        failure, invariant = f"{type(error).__name__}: {error}", "crash"
        detail = traceback.format_exc()
    cluster = run.cluster
    marks = dict(sorted(cluster.marks.items()))
    cluster.queue.note(repr((failure, marks)).encode())
    return Verdict(
        *(run.config.seed, failure, invariant, cluster.queue.digest()),
        *(cluster.queue.events, marks, detail),
    )


class Run:
    """The phases of one seed."""

    def __init__(self, config: SeedConfig) -> None:
        self.config = config
        self.cluster = Cluster(config)
        self.nemesis = Nemesis(self.cluster)
        self.clients = self._make_clients()
        self._healed_ms = 0

    def _make_clients(self) -> Clients | BrokerClients:
        cluster, config = self.cluster, self.config
        random = stream(config.seed, "workload")
        if config.broker is None:
            return Clients(
                *(cluster.queue, random, config, cluster.observer),
                *(cluster.process_of, cluster.nodes),
            )
        facts = cluster.observer.facts
        assert facts is not None, "a topic store without facts"
        return BrokerClients(
            *(cluster.queue, random, config.broker, facts, cluster.process_of, cluster.nodes)
        )

    def run(self) -> None:
        """Run all phases.

        Raises:
            Violation: An invariant is broken.
            TouchedTheRealWorld: Simulated code did.
        """
        with small_limits(self.config.broker), guarded():
            self._run()

    def _run(self) -> None:
        for machine in self.cluster.machines.values():
            self.cluster.start(machine)
        self.clients.start()
        self.nemesis.start()
        Patrol(self.cluster).start()
        self.cluster.queue.run_until(self.config.fault_ns)
        self._heal()
        self._demand_writes()
        self._demand_end_of_clients()
        self._demand_members()  # under load, with limits so small, who is far behind may stay so
        self._leave_out_who_cannot_know()
        self._demand_equal_logs()
        self._demand_wishes()
        look_at_brokers(self.cluster)
        look_at_leases(self.cluster)
        look_at_halves(self.cluster)
        self._demand_equal_logs()  # retention and sessions write while brokers are looked at
        self._look_at_clocks()
        self.cluster.observer.finish()
        self._scan_disks()

    def _heal(self) -> None:
        cluster = self.cluster
        self.nemesis.end()
        cluster.network.heal()
        self._healed_ms = true_ms(cluster.queue)
        if self.config.heal_majority:
            random = stream(self.config.seed, "heal")
            for node in random.sample(list(cluster.nodes), (self.config.nodes - 1) // 2):
                machine = cluster.machines[node]
                machine.stays_down = True
                cluster.end(machine, CrashKind.KEEP)
        for machine in cluster.machines.values():
            if machine.process is None and not machine.stays_down:
                machine.restart_due = False
                cluster.start(machine, machine.in_flight)
        self.clients.heal()

    def _look_at_clocks(self) -> None:
        """Log time follows the clocks of a majority, if they are right and their nodes run."""
        cluster = self.cluster
        right = [each for each in cluster.up() if each.node not in cluster.wrong_clocks]
        is_majority = len(right) * 2 > self.config.nodes
        if is_majority and cluster.observer.log_time.settled(self._healed_ms):
            cluster.marks["log time settled"] += 1
        for machine in cluster.up():
            alarms = machine.process.replica.upkeep.alarms.raised if machine.process else ()
            cluster.marks["log time disputed"] += DISPUTED in alarms

    def _demand_writes(self) -> None:
        queue = self.cluster.queue
        demand(queue, self._why_no_writes, HEAL_NS)
        if Fault.CLOCK in self.config.periods_ns:
            # Log time is given time to find to the clocks, and entries, which carry it: a few.
            self.clients.calm()
            queue.run_until(queue.now_ns + (PATIENCE_MS + 1_000) * MS_NS)

    def _why_no_writes(self) -> str | None:
        if self.clients.acks_after_heal >= ACKS_WANTED:
            return None
        views = why_not_converged(self.cluster.views()) or "converged"
        return f"no new writes after the faults: {views}"

    def _demand_members(self) -> None:
        def why_not() -> str | None:
            home = self.nemesis.members_are_home
            return None if home else "not every replica became a voter again"

        # A learner may have to be sent the whole log, a message at a time, over a slow disk.
        demand(self.cluster.queue, why_not, 5 * HEAL_NS)

    def _demand_wishes(self) -> None:
        """In the end somebody leads whom operators want to lead, if anybody such can."""
        cluster = self.cluster
        demand(cluster.queue, lambda: why_not_as_wished(cluster.up()), 3 * HEAL_NS)
        if any(
            machine.process.replica.core.is_aside
            for machine in self.cluster.up()
            if machine.process
        ):
            self.cluster.marks["drained nodes left alone"] += 1

    def _demand_end_of_clients(self) -> None:
        self.clients.stop()
        demand(self.cluster.queue, self.clients.why_not_ended, HEAL_NS)

    def _leave_out_who_cannot_know(self) -> None:
        """A damaged disk may hide the terms of entries that nobody has any more: it stays out.

        It says so, and takes no part; that is a stop, and right only where damage was done.
        """
        for machine in self.cluster.up():
            if not machine.victim:
                continue

            def why_not(machine: Machine = machine) -> str | None:
                upkeep = _upkeep_of(machine)
                if upkeep is not None and upkeep.waits_for_terms and not upkeep.alarms.raised:
                    return f"{machine.node} waits for terms and does not say so"
                return None

            demand(self.cluster.queue, why_not, HEAL_NS)  # it may have just been started
            upkeep = _upkeep_of(machine)  # perhaps another process's than before: it was stopping
            if upkeep is None or not upkeep.waits_for_terms:
                continue
            self.cluster.marks["terms hidden for ever"] += 1
            machine.stays_down = True
            self.cluster.end(machine, CrashKind.KEEP)

    def _demand_equal_logs(self) -> None:
        demand(self.cluster.queue, self._why_not_at_rest, HEAL_NS)

    def _why_not_at_rest(self) -> str | None:
        for machine in self.cluster.machines.values():
            if machine.process is not None and machine.process.is_stopping:
                return f"{machine.node} is being stopped in order, since before the faults ended"
        missing = why_not_converged(self.cluster.views())
        if missing is not None:
            return missing
        for machine in self.cluster.up():
            # Damage, and a power cut 20 ms after an ack, are two faults (ruling 2).
            process = machine.process
            if machine.victim and process is not None and process.replica.store.mark_dirty:
                return f"{machine.node}: the durable mark is not on the disk"
        return None

    def _scan_disks(self) -> None:
        """Cut the power of all and read every log from its first entry to its last."""
        cluster = self.cluster
        for machine in cluster.machines.values():
            if machine.process is not None:
                kind = CrashKind.KEEP if self.config.os_cache else CrashKind.LOSE
                cluster.end(machine, kind)
                _scan(cluster, machine)
        look_at_files(cluster)


def _scan(cluster: Cluster, machine: Machine) -> None:
    """Read one log; damage is found only where it was done, and is never served."""
    node = machine.node
    try:
        store = LogStore.open(machine.disk.files(), SHARD, cluster.store_options)
    except DamagedLog:
        if not machine.victim:
            raise
        cluster.marks["refused to start"] += 1  # beyond the atlas a stop is right, not survival
        return
    committed = cluster.observer.committed.log
    index = store.first_index
    while index <= store.end.index:
        try:
            span = store.locate(index, store.end.index, READ_SPAN_BYTES_MAX)
            buffer = span.read(wait=True)
            entries = span.entries(buffer) if buffer is not None else ()
        except (FaultyEntry, OSError):  # known damage, or a sector that nobody has read yet
            if not machine.victim:
                raise
            index = Index(index + 1)
            continue
        for entry in entries:
            expected = committed.at(entry.index)
            if expected is not None and Mark(entry.term, entry.checksum) != expected:
                raise Violation("acked_present", f"{node} holds another entry {entry.index}")
            index = Index(entry.index + 1)
    if store.end.index < len(committed):
        raise Violation(
            "acked_present",
            f"log of {node} ends at {store.end.index}, committed is {len(committed)}",
        )


def merge(verdicts: list[Verdict]) -> Counter[str]:
    """Count, for every mark, the seeds that reached it."""
    reached: Counter[str] = Counter()
    for verdict in verdicts:
        reached.update(mark for mark, count in verdict.marks.items() if count)
    return reached


def _upkeep_of(machine: Machine) -> Upkeep | None:
    return machine.process.replica.upkeep if machine.process is not None else None
