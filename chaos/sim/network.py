"""The simulated network: directed links that lose, repeat, delay and reorder.

A link is a pair (from, to); a one-way partition blocks one of the two. What is
in flight when a partition begins is lost with it or arrives after all, by
chance. Contents are never damaged: frames on real connections have checksums,
and breaking one ends the connection, which is loss.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random

import msgspec

from chaos.sim.events import MS_NS, EventQueue
from raftlog.base.entry import parse_entries
from raftlog.base.ids import NodeId
from raftlog.raft.rpcs import AppendRequest, PeerMessage

Deliver = Callable[[NodeId, NodeId, PeerMessage], None]


class NetworkConfig(msgspec.Struct, frozen=True):
    """How bad the links are. Rates are probabilities per message."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_min_ns: int = MS_NS // 10
    delay_mean_ns: int = MS_NS // 2
    spike: float = 0.0
    """How often a message is late by a large part of an election timeout."""
    ordered: bool = True
    """Whether a link keeps the order of its messages, as one connection does."""
    reencode: float = 0.1
    """How often entries travel as bytes and are parsed again."""


class Network:
    """Links between named nodes."""

    def __init__(
        self, queue: EventQueue, random: Random, config: NetworkConfig, deliver: Deliver
    ) -> None:
        self.config = config
        self.blocked: set[tuple[NodeId, NodeId]] = set()
        self.lost = 0
        self.delivered = 0
        self._queue = queue
        self._random = random
        self._deliver = deliver
        self._last_ns: dict[tuple[NodeId, NodeId], int] = {}
        self._clogged_ns: dict[tuple[NodeId, NodeId], int] = {}
        self._incarnations: dict[NodeId, int] = {}

    def forget(self, node: NodeId) -> None:
        """Lose what is under way from and to ``node``: another directory has its name now.

        A connection is between two directories, as the hello on it proved them.
        """
        self._incarnations[node] = self._incarnations.get(node, 0) + 1

    def send(self, sender: NodeId, to: NodeId, message: PeerMessage) -> None:
        """Take in a message; it arrives once, never, or twice."""
        draw = self._random.random
        config = self.config
        if (sender, to) in self.blocked or (config.loss and draw() < config.loss):
            self.lost += 1
            return
        if type(message) is AppendRequest and message.entries and draw() < config.reencode:
            message = _through_bytes(message)
        self._launch(sender, to, message)
        if config.duplication and draw() < config.duplication:
            self._launch(sender, to, message)

    def clog(self, link: tuple[NodeId, NodeId], until_ns: int) -> None:
        """Hold everything on ``link`` until a time; then it arrives in one burst."""
        self._clogged_ns[link] = until_ns

    def block(self, links: Iterable[tuple[NodeId, NodeId]]) -> None:
        """Block exactly ``links`` from now on; the others are open."""
        self.blocked = set(links)

    def heal(self) -> None:
        """Open every link and make them good ones."""
        self.blocked = set()
        self._clogged_ns.clear()
        self.config = NetworkConfig()

    def _launch(self, sender: NodeId, to: NodeId, message: PeerMessage) -> None:
        random = self._random
        config = self.config
        delay_ns = config.delay_min_ns + int(random.expovariate(1.0) * config.delay_mean_ns)
        if config.spike and random.random() < config.spike:
            delay_ns += random.randrange(100 * MS_NS, 800 * MS_NS)
        link = (sender, to)
        due_ns = max(self._queue.now_ns + delay_ns, self._clogged_ns.get(link, 0))
        if config.ordered:
            due_ns = max(due_ns, self._last_ns.get(link, 0))
            self._last_ns[link] = due_ns
        between = self._between(link)
        self._queue.at(due_ns, lambda: self._arrive(sender, to, message, between))

    def _between(self, link: tuple[NodeId, NodeId]) -> tuple[int, int]:
        return self._incarnations.get(link[0], 0), self._incarnations.get(link[1], 0)

    def _arrive(
        self, sender: NodeId, to: NodeId, message: PeerMessage, between: tuple[int, int]
    ) -> None:
        if between != self._between((sender, to)):
            self.lost += 1
            return
        if (sender, to) in self.blocked and self._random.random() < 0.5:
            self.lost += 1
            return
        self.delivered += 1
        self._deliver(sender, to, message)


def _through_bytes(message: AppendRequest) -> AppendRequest:
    entries = parse_entries(b"".join(entry.frame for entry in message.entries))
    return msgspec.structs.replace(message, entries=entries)


def both_ways(left: Sequence[NodeId], right: Sequence[NodeId]) -> list[tuple[NodeId, NodeId]]:
    """Return the links between two sides, in both directions."""
    return [link for a in left for b in right for link in ((a, b), (b, a))]


def partition(nodes: Sequence[NodeId], random: Random) -> tuple[str, list[tuple[NodeId, NodeId]]]:
    """Draw a partition: its name, and the links that it blocks."""
    shuffled = list(nodes)
    random.shuffle(shuffled)
    count = len(nodes)
    kinds = ["halves", "one", "one-way", "random"]
    if count >= 4:
        kinds += ["bridge", "ring"]
    kind = random.choice(kinds)
    match kind:
        case "halves":
            cut = random.randrange(1, count)
            return kind, both_ways(shuffled[:cut], shuffled[cut:])
        case "one":
            return kind, both_ways(shuffled[:1], shuffled[1:])
        case "one-way":
            links = [(shuffled[0], other) for other in shuffled[1:]]
            return kind, links if random.random() < 0.5 else [(b, a) for a, b in links]
        case "bridge":
            # Two sides that only one node in the middle can reach.
            middle = count // 2
            return kind, both_ways(shuffled[:middle], shuffled[middle + 1 :])
        case "ring":
            # Everybody sees a majority, and nobody sees the same one.
            reach = count // 4 + 1
            return kind, [
                (a, b)
                for i, a in enumerate(shuffled)
                for j, b in enumerate(shuffled)
                if min((i - j) % count, (j - i) % count) > reach
            ]
        case _:
            return kind, [(a, b) for a in nodes for b in nodes if a != b and random.random() < 0.3]
