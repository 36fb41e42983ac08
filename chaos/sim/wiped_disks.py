"""A replica loses its disk, within the fault atlas, and its node joins anew with an empty one.

A wipe silently takes back what was durable. So (ruling 16) it hits one replica, and only while
everything that this replica has, acknowledged or not, is on a majority *without* it: what
was committed must not need it, nor what a leader may still commit with the acknowledgements that
it has counted. Its votes go, too; but the new directory is another replica, and has none.

The next one may be hit when all vote again with the directories that they have.
"""

from random import Random

from chaos.sim.cluster import Cluster
from chaos.sim.disk import CrashKind
from chaos.sim.process import Machine, Process
from raftlog.base.ids import Index


def wipe_one(cluster: Cluster, random: Random) -> bool:
    """Wipe a replica, if one may be; return whether it was done."""
    found = dispensable(cluster)
    if not found:
        return False
    machine = random.choice(found)
    if machine.process is not None and machine.process.replica.leads:
        cluster.marks["leaders wiped"] += 1
    cluster.marks["disks wiped"] += 1
    cluster.end(machine, random.choice(list(CrashKind)))
    cluster.renew(machine)
    cluster.restart_later(machine)
    return True


def dispensable(cluster: Cluster) -> list[Machine]:
    """Return the machines one of which may be wiped now."""
    leader = newest_leader(cluster)
    if leader is None or not _is_whole(cluster, leader):
        return []
    machines = cluster.machines.values()
    return [machine for machine in machines if _is_dispensable(cluster, leader, machine)]


def newest_leader(cluster: Cluster) -> Process | None:
    """Return the newest leader."""
    return max(cluster.leading(), key=lambda process: process.replica.core.term, default=None)


def all_follow(cluster: Cluster, leader: Process) -> bool:
    """Whether no election is under way, nor may be won any more up to ``leader``'s term.

    All run and follow it, have its term on disk, and a majority has an entry of that term: who
    forgets the term has forgotten such entries, too, and nobody votes for it before it has them.
    """
    term = leader.replica.core.term
    committed = cluster.observer.committed
    mark = committed.log.at(committed.end)
    return (mark is not None and mark.term == term) and all(
        each.process is not None
        and each.process.replica.core.term == term
        and each.process.replica.leader == leader.replica.id.node
        and cluster.observer.durable_state(each.node).hard_state.term == term
        for each in cluster.machines.values()
    )


def _is_whole(cluster: Cluster, leader: Process) -> bool:
    """Whether who votes is settled, and each of them has the directory that votes."""
    core = leader.replica.core
    settled = core.commit >= core.configured_at and not core.membership.is_joint
    return settled and set(core.membership.voters) <= set(cluster.replicas)


def _is_dispensable(cluster: Cluster, leader: Process, machine: Machine) -> bool:
    """Whether a majority of the voters has everything that this one has, and all that counts."""
    voters = leader.replica.core.membership.voters
    if machine.id not in voters:
        return False
    observer = cluster.observer
    mine = observer.durable_log(machine.node)
    # What others have may turn out to be damaged where their disks are not good, either.
    others = [
        observer.durable_log(voter.node)
        for voter in voters
        if voter.node != machine.node and not cluster.machines[voter.node].victim
    ]
    end, committed = Index(len(mine)), observer.committed.end
    enough = [
        log
        for log in others
        if log.at(end) == mine.at(end)
        and log.at(committed) == observer.committed.log.at(committed)
    ]
    return len(enough) > len(voters) // 2
