"""The operator: adds, promotes, demotes and removes members, whoever leads.

It asks any node that believes to lead, the right one or not, without waiting for
the change before; what is refused is asked again some day. Afterwards it brings
everybody home: each replica is a voter again.
"""

from random import Random
from typing import Final

from chaos.sim.cluster import Cluster
from chaos.sim.events import MS_NS
from chaos.sim.process import Process
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Index, ReplicaId
from raftlog.base.membership import Membership
from raftlog.raft.changes import AddLearner, Demote, MemberChange, Promote, Remove, Replace

PAUSE_NS: Final = 100 * MS_NS
INVITATION_NS: Final = 300 * MS_NS


class Operator:
    """Changes the members of one run."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self._cluster = cluster
        self._random = random
        self._brings_home = False
        self._asks = False
        """Whether it asks again and again, until all are home."""

    def act(self) -> None:
        """Ask for one change of a node drawn at random."""
        leader = self._leader()
        if leader is None:
            return
        members = leader.replica.membership
        replica = self._random.choice(self._cluster.replicas)
        change: MemberChange
        known = members.find(replica.node)
        if known is None:
            change = _addition(replica)
        elif known != replica:
            change = Remove(replica.node)
        elif replica in members.voters:
            kinds = (Demote(replica.node), Remove(replica.node), Replace(replica))
            change = self._random.choice(kinds)
        else:
            promote = Promote(replica.node, by_itself=self._random.random() < 0.5)
            change = self._random.choice((promote, promote, promote, Remove(replica.node)))
        self._ask(leader, change)

    def bring_home(self) -> None:
        """The faults are over: ask until every replica is a voter, as soon as may be."""
        self._brings_home = True
        self.invite()

    def invite(self) -> None:
        """Somebody has come with a new directory: ask until all vote, also while faults go on."""
        if not self._asks:
            self._asks = True
            self._ask_again()

    def _ask_again(self) -> None:
        self._ask_for_one()
        self._asks = not self.is_home
        if self._asks:
            pause_ns = PAUSE_NS if self._brings_home else INVITATION_NS
            self._cluster.queue.after(pause_ns, self._ask_again)

    def _ask_for_one(self) -> None:
        """Ask for the next change that brings a replica closer to voting."""
        leader = self._leader()
        if leader is not None:
            members = leader.replica.membership
            for replica in self._cluster.replicas:
                if replica in members.voters:
                    continue
                known = members.find(replica.node)
                if known is None:
                    self._ask(leader, _addition(replica))
                elif known == replica:
                    self._ask(leader, Promote(replica.node))
                else:
                    gone = self._random.choice((Remove(replica.node), Replace(known)))
                    self._ask(leader, gone)
                break

    @property
    def is_home(self) -> bool:
        """Whether every node votes with the directory that it has, and that is committed."""
        leader = self._leader()
        if leader is None:
            return False
        core = leader.replica.core
        voters = set(self._cluster.replicas)
        is_settled = core.commit >= core.configured_at and not core.membership.is_joint
        return is_settled and set(core.membership.voters) == voters

    def _leader(self) -> Process | None:
        leading = self._cluster.leading()
        return self._random.choice(leading) if leading else None

    def _ask(self, leader: Process, change: MemberChange) -> None:
        marks = self._cluster.marks
        kind = type(change).__name__.lower()
        if isinstance(change, Remove) and leader.replica.id.node == change.node:
            kind = "remove of the leader"

        observer, floor = self._cluster.observer, Index(0)

        def changed(outcome: Membership | RaftlogError) -> None:
            if isinstance(outcome, RaftlogError):
                marks[f"members not changed: {outcome.code}"] += 1
            else:
                observer.told_members(floor, outcome)
                marks[f"members: {kind}"] += 1

        before = self._brings_home

        def carry_out() -> None:
            nonlocal floor
            floor = observer.committed.end
            # A process that was paused hears of this late: not when all are home already.
            if before == self._brings_home and self._may_ask(leader, change):
                leader.replica.change_members(change, changed)

        leader.life.call_soon(carry_out)

    def _may_ask(self, leader: Process, change: MemberChange) -> bool:
        """Whether a person would: who takes a voter away while another is gone has too few.

        Who goes on with an old copy may be found out any time, and is another one then.
        """
        members = leader.replica.membership
        machines = self._cluster.machines.values()
        here = {each.id for each in machines if each.id != each.put_back_as}
        gone = {each.node for each in (*members.voters, *members.outgoing) if each not in here}
        if not gone or not isinstance(change, Demote | Remove | Replace):
            return True
        return change.node in gone


def _addition(replica: ReplicaId) -> AddLearner:
    return AddLearner(replica, f"{replica.node}:1", f"{replica.node}:2")
