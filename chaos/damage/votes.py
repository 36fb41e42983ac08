"""A damaged vote, and an election in the very term of that vote (ruling 1).

::

    n1  led term T with the votes of n1 and n2; nothing of term T was written yet
    n2  voted for n1 in term T              <- or n1: its hard.state is damaged
    n3  is still in the term before, and asks for votes in term T now

Who has forgotten its vote gives it again, and term T has two leaders. n3 asks
because of a message that was under way for long: the leader of the term before
had told it to take over. That skips pre-vote, which would hide the forgotten vote.
"""

import pickle
from collections.abc import Iterator
from functools import partial
from typing import Final

from chaos.check.violation import Violation
from chaos.damage.base import (
    BROKER,
    STEP_NS,
    Base,
    DamagedCluster,
    Owner,
    run_until_converged,
)
from chaos.damage.harm import Harm, every_harm
from chaos.damage.sweep import PADDING_STRIDE, REFUSED, UNHARMED, Case
from chaos.sim.cluster import SHARD
from chaos.sim.limits import small_limits
from chaos.sim.observer import Observer
from raftlog.base.ids import Index, NodeId, Term
from raftlog.base.writes import HardState
from raftlog.raft.rpcs import Heartbeat, TimeoutNow
from raftlog.storage.hard_state import HardStateFile
from raftlog.storage.log_store import HARD_STATE

PATH: Final = f"{SHARD}/{HARD_STATE}"
N1, N2, N3 = (NodeId(f"n{number}") for number in (1, 2, 3))


def voted(base: Base) -> tuple[Base, Term]:
    """Return the cluster of ``base`` after an election in a new term, and that term."""
    observer: Observer = pickle.loads(base.observer)
    disks = {node: disk.fork() for node, disk in base.disks.items()}
    cluster = DamagedCluster(base)
    leader = cluster.machines[N1].id
    files = [HardStateFile.open(disk.files(), PATH) for disk in disks.values()]
    before = max(file.state.term for file in files)
    term = Term(before + 1)
    for node, disk in disks.items():
        state = HardState(before if node == N3 else term, None if node == N3 else leader)
        file = HardStateFile.open(disk.files(), PATH)
        file.write(file.sequence + 1, state)
        durable = observer.durable_state(node)
        durable.hard_state = state
        if node != N3:
            durable.votes[term] = N1
            observer._monotone.votes(node, term, N1)
    observer.leaders.leads(N1, term)
    return Base(disks, pickle.dumps(observer)), term


def vote_cases(base: Base) -> Iterator[Case]:
    """Yield a case for every byte of the hard state of each of the two who voted."""
    after, term = voted(base)
    for node in (N1, N2):
        harms = [(harm, used) for harm, used in every_harm(after.disks[node]) if harm.path == PATH]
        for number, (harm, is_used) in enumerate(harms):
            if is_used or number // 2 % PADDING_STRIDE == 0:
                run = partial(damage_vote, after=after, node=node, harm=harm, term=term)
                yield Case(f"{harm.way} vote", f"vote of {node}: {harm}", run)


def damage_vote(_: Base, *, after: Base, node: NodeId, harm: Harm, term: Term) -> str:
    """Damage the vote of ``node``; let n3 ask it in that term; then let all of them go on."""
    with small_limits(BROKER):
        cluster = DamagedCluster(after)
        victim = cluster.machines[node]
        victim.victim = True
        harm.do(victim.disk)
        absent = cluster.machines[N2 if node == N1 else N1]
        for machine in cluster.machines.values():
            if machine is not absent:
                cluster.start(machine)
        _ask_in_term(cluster, Term(term - 1))
        cluster.queue.run_until(cluster.queue.now_ns + 10 * STEP_NS)
        if cluster.observer.durable_state(N3).votes.get(term) != N3:
            raise Violation("one_leader_per_term", f"nobody asked for votes in term {term}")
        cluster.start(absent)
        run_until_converged(cluster, "after the election")
        Owner(cluster, "after").send_acked()
        run_until_converged(cluster, "after a write")
        cluster.observer.finish()
    return REFUSED if victim.stays_down else UNHARMED


def _ask_in_term(cluster: DamagedCluster, before: Term) -> None:
    process = cluster.machines[N3].process
    assert process is not None, "n3 is not damaged"
    leader = cluster.machines[N1].id
    process.replica.receive(leader, Heartbeat(before, Index(0), 1))
    process.replica.receive(leader, TimeoutNow(before))
