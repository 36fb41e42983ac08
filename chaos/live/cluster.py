"""A cluster of processes behind proxies: one for each directed link, one before each node.

One node more than the cluster has members stands by, in the place of which a member may go.
Everything is below one directory, made for the run and removed after it. A node is started by
``chaos.live.node``, so its disk does what the suite says.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Final

import msgspec

from chaos.live.bad_files import Trouble
from chaos.live.conditions import CLEAR, Condition, combined
from chaos.live.node import ASIDE, SOCKET, TROUBLES
from chaos.live.proxy import Proxy
from chaos.live.shim import build, preloaded
from raftlog.base.errors import RaftlogError, Unavailable
from raftlog.base.ids import NodeId
from raftlog.client.routing import ask_status
from raftlog.server.config import load_config
from raftlog.server.formation import form
from raftlog.server.observation import ClusterView, NodeView, observe
from raftlog.testing.processes import NodeAddress, NodeProcess, local_addresses

READY_S: Final = 30.0
LOOK_S: Final = 0.05
ORDER_S: Final = 10.0
SETTINGS: Final = ("segment_mib: 8", "scrub: {mib_per_s: 64, rest_minutes: 1}")
"""Small segments: rolling and trimming happen in a short run, too."""


class Death(msgspec.Struct, frozen=True):
    """A process that ended by itself: how, the reason that it gave, and its last words."""

    ending: str
    why: str
    words: str


class LiveNode(NodeProcess):
    """One node's process, whose disk can be told what to do."""

    def __init__(
        self,
        address: NodeAddress,
        directory: Path,
        *,
        mutant: str = "",
        shim: Path | None = None,
    ) -> None:
        super().__init__(address, directory / "cluster.yml", directory / f"{address.node}.log")
        self.data: Final = directory / "data" / address.node
        self.place: Final = directory / f"{address.node}.disk"
        self.place.mkdir(exist_ok=True)
        self._is_excused = False
        self.deaths: Final[list[Death]] = []
        """Each time that it ended though nobody had told it to, and it was not excused."""
        self.starts = 0
        self._mutant = mutant
        self._shim = shim

    def _program(self) -> list[str]:
        before = preloaded(self._shim, self.data, self.place / ASIDE) if self._shim else []
        return [*before, sys.executable, "-m", "chaos.live.node", str(self.place), self._mutant]

    def begin(self, troubles: Sequence[Trouble] = (), *, join: bool = False) -> None:
        """Start the process on a disk with these troubles, perhaps as a new replica."""
        self.note_death()
        if troubles:
            (self.place / TROUBLES).write_bytes(msgspec.json.encode(list(troubles)))
        self._options = ("--join",) if join else ()
        self.starts += 1
        (self.place / SOCKET).unlink(missing_ok=True)
        self.start()

    @property
    def excused(self) -> bool:
        """Whether it may end by itself: its disk was told to fail.

        An end that comes before this is taken back was excused.
        """
        return self._is_excused

    @excused.setter
    def excused(self, is_excused: bool) -> None:
        if self._is_excused and self.ended_by_itself:
            self._is_wanted = False
        self._is_excused = is_excused

    def note_death(self) -> None:
        """Note it if the process has ended by itself: before it is told to end, or started again.

        Whoever looks now and then would miss it.
        """
        if self.ended_by_itself and not self.excused:
            self._is_wanted = False  # once
            self.deaths.append(Death(self.ending(), self.why(), self.last_words()))

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self.note_death()
        super().kill()

    def terminate(self) -> None:
        """Ask the process to stop."""
        self.note_death()
        super().terminate()

    async def ended(self) -> int:
        """Wait for the process to end, killing it if it hangs."""
        return await asyncio.to_thread(self.wait)

    async def order(self, order: dict[str, object]) -> dict[str, int]:
        """Tell the node's disk something; return its answer, {} if it is gone."""
        try:
            async with asyncio.timeout(ORDER_S):
                reader, writer = await asyncio.open_unix_connection(str(self.place / SOCKET))
                try:
                    writer.write(msgspec.json.encode(order) + b"\n")
                    line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return {}
        return msgspec.json.decode(line, type=dict[str, int]) if line else {}

    async def set_clock(self, shift_ms: int) -> dict[str, int]:
        """Set the wall clock so much ahead, or right; return how often it was read wrong."""
        return await self.order({"clock": shift_ms})

    def last_words(self) -> str:
        """Return the end of its log; places are told from the run's directory on, which goes."""
        return super().last_words().replace(f"{self.data.parent.parent}/", "")

    def why(self) -> str:
        """Say how the process ended, and the reason that it gave."""
        reasons = [line for line in self.last_words().splitlines() if "stopping: " in line]
        return f"{self.ending()}: {reasons[-1] if reasons else self.last_line()}"

    async def trouble(self, troubles: Sequence[Trouble]) -> dict[str, int]:
        """Say what is wrong with the disk from now on; return what was met so far."""
        return await self.order({"troubles": msgspec.to_builtins(troubles)})

    async def cut_power(self, kind: str, seed: int) -> dict[str, int]:
        """Lose the power: what was not synced is gone, at least in part. Says how much there was.

        Returns {} if the process had ended before.
        """
        report = self.place / "power.json"
        report.unlink(missing_ok=True)
        self.note_death()
        self._is_wanted = False
        if self._paused:
            self.resume()
        await self.order({"power": kind, "seed": seed, "report": str(report)})
        await self.ended()
        if not report.exists():
            return {}
        return msgspec.json.decode(report.read_bytes(), type=dict[str, int])


class LiveCluster:
    """The nodes, the links between them, and the doors for clients."""

    def __init__(
        self, directory: Path, nodes: int, *, mutant: str = "", shim: bool = False
    ) -> None:
        library = build(directory) if shim else None
        self.directory: Final = directory
        self.nodes: Final[dict[NodeId, LiveNode]] = {}
        """The members, and who is on the way to be one."""
        self._all: Final = {
            address.node: LiveNode(address, directory, mutant=mutant, shim=library)
            for address in local_addresses(nodes + 1)
        }
        for node in list(self._all.values())[:nodes]:
            self.nodes[node.node] = node
        self.links: Final = {
            (one, other): Proxy(self._all[other].address.peer)
            for one in self._all
            for other in self._all
            if one != other
        }
        """By who dials and who is dialled; the spare node's, too."""
        self._wrong: Final[dict[Proxy, list[Condition]]] = {
            proxy: [] for proxy in self.links.values()
        }
        self.doors: Final = {name: Proxy(each.address.client) for name, each in self._all.items()}
        self.view = ClusterView(())
        """As it was seen last."""
        self.stays = False
        """Whether its files are kept when all is over."""

    @property
    def names(self) -> list[NodeId]:
        """The members' names."""
        return list(self.nodes)

    @property
    def addresses(self) -> list[NodeAddress]:
        """The members' addresses."""
        return [node.address for node in self.nodes.values()]

    @property
    def spare(self) -> LiveNode | None:
        """The one that is no member, does not run, and has no directory; it may be on its way."""
        return next((node for name, node in self._all.items() if name not in self.nodes), None)

    @property
    def seeds(self) -> list[str]:
        """Where clients reach the nodes: through their doors."""
        return [self.doors[node].address for node in self.names]

    async def open(self) -> None:
        """Open every proxy, form the cluster, start the nodes, and wait until they serve."""
        for proxy in self._proxies():
            await proxy.open()
        config = self.directory / "cluster.yml"
        config.write_text(self._config_text(self.names))
        await asyncio.to_thread(form, load_config(config))
        # The one who stands by has no part in the formation, but the file says where it will be:
        # it is to be reached through its links, too.
        config.write_text(self._config_text(list(self._all)))
        for node in self.nodes.values():
            node.begin()
        await self.settled()

    async def aclose(self) -> None:
        """End every process and every proxy; the directory stays."""
        for node in self._all.values():
            node.kill()
        for node in self._all.values():
            if node.starts:
                await node.ended()
        for proxy in self._proxies():
            await proxy.aclose()

    def kill(self) -> None:
        """End every process that is left, without any event loop."""
        started = [node for node in self._all.values() if node.starts]
        for node in started:
            node.kill()
        for node in started:
            node.wait()

    # -- looking

    async def look(self) -> ClusterView:
        """Ask every node what it believes, behind the proxies' backs."""
        addresses = {address.node: address.client for address in self.addresses}
        view = await observe(addresses)
        # Somebody may have gone meanwhile.
        self.view = ClusterView(tuple(each for each in view.nodes if each.node in self.nodes))
        return self.view

    async def leader(self, timeout_s: float = READY_S) -> NodeView:
        """Return who leads, once a majority follows somebody."""
        deadline = time.monotonic() + timeout_s
        while True:
            view = await self.look()
            leader = view.leader(0)
            if leader is not None and not view.complaint:
                return leader
            if time.monotonic() >= deadline:
                raise Unavailable(f"after {timeout_s:g} s: {view.complaint}")
            await asyncio.sleep(LOOK_S)

    async def settled(self, timeout_s: float = READY_S) -> None:
        """Wait until every node runs, follows, votes, and has what is committed now.

        Only then may something be taken from a disk that nobody can see is missing (ruling 16).

        Raises:
            Unavailable: It did not come to that in time.
        """
        deadline = time.monotonic() + timeout_s
        commit: int | None = None
        while True:
            view = await self.look()
            leader = view.leader(0)
            if leader is not None and not view.complaint and not view.missing:
                commit = leader.commit if commit is None else commit
                voters = set(leader.voters)
                behind = [
                    each
                    for each in view.nodes
                    if each.leader != leader.node
                    or each.durable < commit
                    or each.applied < commit
                    or each.node not in voters
                ]
                if not behind and await self._is_sound():
                    return
            if time.monotonic() >= deadline:
                raise Unavailable(f"the cluster is not whole after {timeout_s:g} s: {view}")
            await asyncio.sleep(LOOK_S)

    async def _is_sound(self) -> bool:
        """Whether no node has entries that it knows to be damaged."""
        for address in self.addresses:
            try:
                status = await ask_status(address.client)
            except RaftlogError:
                return False
            if status.counters.get("faulty_entries_size", 0):
                return False
        return True

    # -- members

    def admit(self, node: LiveNode) -> None:
        """The spare node is one of the nodes from now on: it is to become a member."""
        self.nodes[node.node] = node

    def dismiss(self, node: LiveNode) -> None:
        """A node is none of the nodes any more: it has to end, and is the spare one."""
        del self.nodes[node.node]

    # -- links

    @contextmanager
    def between(self, one: NodeId, other: NodeId, condition: Condition) -> Iterator[None]:
        """Everything that goes from ``one`` to ``other`` is so meanwhile, whoever has dialled.

        ``condition.there`` is the way from ``one`` to ``other``. What else is wrong with these
        links stays wrong.
        """
        turned = Condition(condition.back, condition.there, condition.refuses)
        links = ((self.links[one, other], condition), (self.links[other, one], turned))
        for proxy, each in links:
            self._wrong[proxy].append(each)
            proxy.set(combined(self._wrong[proxy]))
        try:
            yield
        finally:
            for proxy, each in links:
                self._wrong[proxy].remove(each)
                proxy.set(combined(self._wrong[proxy]))

    @contextmanager
    def around(self, node: NodeId, condition: Condition, *, door: bool = False) -> Iterator[None]:
        """All links of a node are so meanwhile; ``there`` is the way to it.

        ``door``: its clients' too.
        """
        with ExitStack() as stack:
            for other in self._all:
                if other != node:
                    stack.enter_context(self.between(other, node, condition))
            if door:
                stack.enter_context(self._at_the_door(node, condition))
            yield

    @contextmanager
    def _at_the_door(self, node: NodeId, condition: Condition) -> Iterator[None]:
        self.doors[node].set(condition)  # one fault at a time has a node, and so its door
        try:
            yield
        finally:
            self.doors[node].set(CLEAR)

    def proxies_of(self, node: NodeId) -> list[Proxy]:
        """Return every proxy between a member and another one, or clients."""
        return [*self.links_of(node).values(), self.doors[node]]

    def links_of(self, node: NodeId) -> dict[tuple[NodeId, NodeId], Proxy]:
        """Return every link between a member and another one.

        Not those to the spare node: that nobody gets through to it proves nothing.
        """
        pairs = (pair for other in self.nodes for pair in ((node, other), (other, node)))
        return {pair: self.links[pair] for pair in pairs if pair[0] != pair[1]}

    # -- directories

    def wipe(self, node: NodeId) -> None:
        """Take a stopped node's directory away."""
        rmtree(self._all[node].data)

    def _proxies(self) -> list[Proxy]:
        return [*self.links.values(), *self.doors.values()]

    def _config_text(self, names: Sequence[NodeId]) -> str:
        data = self.directory / "data"
        lines = ["cluster: chaos", f"data: {data}", "durability: fsync", *SETTINGS, "nodes:"]
        for me in names:
            address = self._all[me].address
            dial = ", ".join(
                f"{other}: '{self.links[me, other].address}'" for other in names if other != me
            )
            lines += [
                f"  {me}:",
                f"    listen: {{peer: '{address.peer}', client: '{address.client}'}}",
                f"    advertise: {{client: '{self.doors[me].address}'}}",
                f"    dial: {{{dial}}}",
            ]
        return "\n".join(lines) + "\n"
