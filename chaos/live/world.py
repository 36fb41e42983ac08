"""What everybody in a run shares: the cluster, the clock, and what was seen so far."""

import asyncio
import time
from random import Random
from typing import Final

import msgspec

from chaos.check.client_history import Anomaly, Event, Outcome, Records
from chaos.check.one_leader_per_term import OneLeaderPerTerm
from chaos.check.violation import Violation
from chaos.check.whole_queues import WholeQueues
from chaos.live.cluster import LiveCluster
from chaos.live.topics import TOPICS
from raftlog.base.ids import NodeId, Term
from raftlog.client.client import Client
from raftlog.server.observation import LEADS, ClusterView

LOOK_S: Final = 0.1
CALL_S: Final = 20.0
"""How long a client tries: longer than any single fault lasts."""


class Sight(msgspec.Struct, frozen=True):
    """How the cluster looked at a moment."""

    at: float
    leader: str
    term: int
    roles: tuple[str, ...]
    """Of every node: leader, follower, .., "paused", "down" or "silent"."""
    acked: int


class World:
    """One run."""

    def __init__(self, cluster: LiveCluster, seed: int) -> None:
        self.cluster: Final = cluster
        self.seed: Final = seed
        self.random: Final = Random(f"workload {seed}")
        self.records: Final[dict[str, Records]] = {}
        self.archived: Final = WholeQueues(TOPICS)
        self.events: Final[list[Event]] = []
        self.anomalies: Final[list[Anomaly]] = []
        self.sights: Final[list[Sight]] = []
        self.stopping = asyncio.Event()
        """Nobody sends anything new."""
        self.current: Final[list[Event]] = []
        """The faults that are going on: one, or two."""
        self._taken: Final[list[tuple[Event, NodeId]]] = []
        self._began = time.monotonic()
        self._leaders = OneLeaderPerTerm()

    def now(self) -> float:
        """Return the seconds since the run began."""
        return time.monotonic() - self._began

    @property
    def acked(self) -> int:
        """How many records were acknowledged so far."""
        return sum(each.count(Outcome.OK) for each in self.records.values())

    def take(self, event: Event, *nodes: NodeId) -> None:
        """A fault has these nodes until it is over: no other one hits them meanwhile."""
        self._taken.extend((event, node) for node in nodes)

    def free(self) -> list[NodeId]:
        """Return the nodes that no fault has."""
        taken = {node for _, node in self._taken}
        return [node for node in self.cluster.names if node not in taken]

    def over(self, event: Event) -> None:
        """A fault is over; its nodes are free."""
        self.current.remove(event)
        self._taken[:] = [each for each in self._taken if each[0] is not event]

    def client(self, *, timeout_s: float = CALL_S) -> Client:
        """Return a client behind the proxies."""
        return Client(self.cluster.seeds, timeout=timeout_s)

    def saw(self, check: str, text: str, *evidence: str) -> None:
        """Note an anomaly, once."""
        anomaly = Anomaly(check, text, (f"{self.now():.2f} s into the run", *evidence))
        if not any((each.check, each.text) == (check, text) for each in self.anomalies):
            self.anomalies.append(anomaly)

    async def rest(self, seconds: float) -> None:
        """Wait, but not longer than the run lasts."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            pass

    async def watch(self) -> None:
        """Look again and again: who leads, and who has ended that nobody told to."""
        while True:
            await self.look()
            for node in self.cluster.nodes.values():
                node.note_death()
            self.heed_deaths()
            await asyncio.sleep(LOOK_S)

    def heed_deaths(self) -> None:
        """Tell of every process that has ended by itself."""
        for node in self.cluster.nodes.values():
            for death in node.deaths:
                text = f"{node.node} ended by itself: {death.ending}"
                self.saw("nodes_stay_up", text, death.why, *death.words.splitlines())
            node.deaths.clear()

    async def look(self) -> ClusterView:
        """Look at the cluster once, and remember who leads."""
        view = await self.cluster.look()
        self._see(view)
        return view

    def _see(self, view: ClusterView) -> None:
        for each in view.nodes:
            if each.role == LEADS:
                try:
                    self._leaders.leads(NodeId(each.node), Term(each.term))
                except Violation as violation:
                    self.saw("one_leader_per_term", str(violation))
        leader = view.leader(0)
        self.sights.append(
            Sight(
                self.now(),
                leader.node if leader is not None and not view.complaint else "",
                max((each.term for each in view.nodes), default=0),
                tuple(self._role(each.node, each.role) for each in view.nodes),
                self.acked,
            )
        )

    def _role(self, name: NodeId, role: str) -> str:
        node = self.cluster.nodes[name]
        if not node.running:
            return "down"
        if node._paused:
            return "paused"
        return role or "silent"
