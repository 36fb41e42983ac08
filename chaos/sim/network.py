"""The simulated network: directed links that lose, repeat, delay and reorder.

A link is a pair (from, to); a one-way partition blocks one of the two. What is
in flight when a partition begins is lost with it or arrives after all, by
chance. Each link is two connections, one for what is large (ruling 32): each
keeps the order of its own, if the seed has order, and has its own bandwidth.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final

import msgspec

from chaos.sim.events import MS_NS, SECOND_NS, EventQueue
from chaos.sim.wires import Wire, size_of
from raftlog.base.ids import NodeId
from raftlog.raft.rpcs import PeerMessage
from raftlog.transport.peer_codec import is_bulk

Deliver = Callable[[NodeId, NodeId, PeerMessage], None]
Link = tuple[NodeId, NodeId]
Connection = tuple[NodeId, NodeId, bool]
"""From, to, and whether it is the one for what is large."""
UNSENT_NS_MAX: Final = 1_500 * MS_NS
"""With so much unsent a connection takes nothing more; one message takes no longer."""
REDIAL_NS_MAX: Final = 100 * MS_NS
"""A connection that was broken is there again at the latest after this."""
KEPT: Final = 40
"""So many of the messages that a link ever carried may come again."""
_KEPT_SHARE: Final = 0.1
"""How often a message takes the place of an older one among these."""


class NetworkConfig(msgspec.Struct, frozen=True):
    """How bad the links are. Rates are probabilities per message."""

    loss: float = 0.0
    duplication: float = 0.0
    replay: float = 0.0
    """How often one of the messages that the link has carried comes again, some time later."""
    bit_flip: float = 0.0
    """How often a bit is not what it was: the receiver breaks the connection."""
    delay_min_ns: int = MS_NS // 10
    delay_mean_ns: int = MS_NS // 2
    spike: float = 0.0
    """How often a message is late by a large part of an election timeout."""
    bytes_per_s: int = 0
    """Of each connection; 0: more than anybody needs."""
    ordered: bool = True
    """Whether a connection keeps the order of its messages."""
    encoded: float = 0.02
    """How often a message travels as bytes, and is what its receiver reads from them."""


class Network:
    """Links between named nodes."""

    def __init__(
        self,
        queue: EventQueue,
        random: Random,
        config: NetworkConfig,
        deliver: Deliver,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.config = config
        self.blocked: set[Link] = set()
        self.lost = 0
        self.delivered = 0
        self._queue = queue
        self._random = random
        self._deliver = deliver
        self._note = note
        self._wire = Wire()
        self._last_ns: dict[Connection, int] = {}
        self._free_ns: dict[Connection, int] = {}
        self._redialled_ns: dict[Connection, int] = {}
        self._clogged_ns: dict[Link, int] = {}
        self._lossy: dict[Link, tuple[int, float]] = {}
        self._carried: dict[Link, list[PeerMessage]] = {}
        self._incarnations: dict[NodeId, int] = {}

    def forget(self, node: NodeId) -> None:
        """Lose what is under way from and to ``node``: another directory has its name now.

        A connection is between two directories, as the hello on it proved them.
        """
        self._incarnations[node] = self._incarnations.get(node, 0) + 1
        for link in [link for link in self._carried if node in link]:
            del self._carried[link]

    def send(self, sender: NodeId, to: NodeId, message: PeerMessage) -> None:
        """Take in a message; it arrives once, never, or twice."""
        draw = self._random.random
        config = self.config
        link = (sender, to)
        if link in self.blocked or (config.loss and draw() < config.loss):
            self.lost += 1
            return
        if self._lossy and self._loses(link):
            self.lost += 1
            return
        if config.bit_flip and not self._is_whole(link, message):
            self.lost += 1
            return
        if draw() < config.encoded:
            message = self._wire.carry(message)
        self._launch(sender, to, message)
        if config.duplication and draw() < config.duplication:
            self._launch(sender, to, message)
        if config.replay:
            self._replay(link, message)

    def clog(self, link: Link, until_ns: int) -> None:
        """Hold everything on ``link`` until a time; then it arrives in one burst."""
        self._clogged_ns[link] = until_ns

    def make_lossy(self, link: Link, until_ns: int, rate: float) -> None:
        """Lose so much of what is sent on ``link`` until a time; all of it: half-open."""
        self._lossy[link] = (until_ns, rate)

    def block(self, links: Iterable[Link]) -> None:
        """Block exactly ``links`` from now on; the others are open."""
        self.blocked = set(links)

    def heal(self) -> None:
        """Open every link and make them good ones."""
        self.blocked = set()
        self._clogged_ns.clear()
        self._lossy.clear()
        self._redialled_ns.clear()
        self.config = NetworkConfig()

    def _loses(self, link: Link) -> bool:
        until_ns, rate = self._lossy.get(link, (0, 0.0))
        return self._queue.now_ns < until_ns and self._random.random() < rate

    def _is_whole(self, link: Link, message: PeerMessage) -> bool:
        """Tell whether a message arrives as it was sent, or at all where one did not."""
        connection = (*link, is_bulk(message))
        if self._queue.now_ns < self._redialled_ns.get(connection, 0):
            return False
        if self._random.random() >= self.config.bit_flip:
            return True
        self._wire.damage(message, self._random)
        self._note("flipped bits refused")
        again_ns = self._queue.now_ns + self._random.randrange(REDIAL_NS_MAX)
        self._redialled_ns[connection] = again_ns
        return False

    def _replay(self, link: Link, message: PeerMessage) -> None:
        """Sometimes let an old message come again: it says what was true then."""
        carried = self._carried.setdefault(link, [])
        drawn = self._random.random()
        if len(carried) < KEPT:
            carried.append(message)
        elif drawn > 1 - _KEPT_SHARE:
            carried[int((1 - drawn) / _KEPT_SHARE * KEPT)] = message
        if drawn < self.config.replay:
            self._note("messages replayed")
            old = self._random.choice(carried)
            delay_ns = self._random.randrange(3_000) * MS_NS
            between = self._between(link)
            self._queue.after(delay_ns, lambda: self._arrive(*link, old, between))

    def _launch(self, sender: NodeId, to: NodeId, message: PeerMessage) -> None:
        random = self._random
        config = self.config
        link = (sender, to)
        delay_ns = config.delay_min_ns + int(random.expovariate(1.0) * config.delay_mean_ns)
        if config.spike and random.random() < config.spike:
            delay_ns += random.randrange(100 * MS_NS, 800 * MS_NS)
        due_ns = max(self._queue.now_ns + delay_ns, self._clogged_ns.get(link, 0))
        if config.ordered or config.bytes_per_s:
            connection = (sender, to, is_bulk(message))
            if config.bytes_per_s:
                if self._free_ns.get(connection, 0) > self._queue.now_ns + UNSENT_NS_MAX:
                    self._note("links full")
                    self.lost += 1
                    return
                due_ns += self._wait_ns(connection, size_of(message))
            if config.ordered:
                due_ns = max(due_ns, self._last_ns.get(connection, 0))
                self._last_ns[connection] = due_ns
        between = self._between(link)
        self._queue.at(due_ns, lambda: self._arrive(sender, to, message, between))

    def _wait_ns(self, connection: Connection, size: int) -> int:
        """Return how long the last byte of a message waits for those before it."""
        now_ns = self._queue.now_ns
        start_ns = max(now_ns, self._free_ns.get(connection, 0))
        free_ns = start_ns + min(size * SECOND_NS // self.config.bytes_per_s, UNSENT_NS_MAX)
        self._free_ns[connection] = free_ns
        return free_ns - now_ns

    def _between(self, link: Link) -> tuple[int, int]:
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
            reach = (count // 2 + 1) // 2
            return kind, [
                (a, b)
                for i, a in enumerate(shuffled)
                for j, b in enumerate(shuffled)
                if min((i - j) % count, (j - i) % count) > reach
            ]
        case _:
            return kind, [(a, b) for a in nodes for b in nodes if a != b and random.random() < 0.3]
