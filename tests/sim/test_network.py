"""The simulated network does what its faults are called."""

from collections import Counter
from random import Random

import pytest

from chaos.sim.events import MS_NS, SECOND_NS, EventQueue
from chaos.sim.network import KEPT, Network, NetworkConfig, partition
from raftlog.base.ids import NodeId, Term
from raftlog.raft.rpcs import HeartbeatReply, PeerMessage

NODES = [NodeId(f"n{number}") for number in range(1, 6)]
A, B = NODES[0], NODES[1]


class Wire:
    """A network and what arrived on it."""

    def __init__(self, config: NetworkConfig) -> None:
        self.queue = EventQueue()
        self.arrived: list[int] = []
        self.noted: Counter[str] = Counter()
        self.network = Network(
            *(self.queue, Random(1), config, self._deliver),
            lambda what: self.noted.update([what]),
        )

    def _deliver(self, _sender: NodeId, _to: NodeId, message: PeerMessage) -> None:
        assert isinstance(message, HeartbeatReply)
        self.arrived.append(message.round)

    def send(self, count: int) -> list[int]:
        """Send numbered messages from A to B; return what arrived."""
        for number in range(count):
            self.network.send(A, B, HeartbeatReply(Term(1), number))
        self.queue.run_until(self.queue.now_ns + SECOND_NS)
        return self.arrived


def test_a_good_ordered_link_brings_everything_once_and_in_order() -> None:
    """One connection keeps order."""
    assert Wire(NetworkConfig(delay_mean_ns=20 * MS_NS)).send(50) == list(range(50))


def test_an_unordered_link_reorders() -> None:
    """Two connections, or a new one after an old one, do not."""
    arrived = Wire(NetworkConfig(delay_mean_ns=20 * MS_NS, ordered=False)).send(50)
    assert arrived != list(range(50))
    assert sorted(arrived) == list(range(50))


def test_loss_and_duplication_happen() -> None:
    """Rates are per message."""
    assert 0 < len(Wire(NetworkConfig(loss=0.5)).send(50)) < 50
    assert len(Wire(NetworkConfig(duplication=0.5)).send(50)) > 50


def test_a_blocked_link_is_blocked_in_one_direction_until_it_heals() -> None:
    """Links are directed."""
    wire = Wire(NetworkConfig())
    wire.network.block([(B, A)])
    assert wire.send(3) == [0, 1, 2]
    wire.network.block([(A, B)])
    assert wire.send(3) == [0, 1, 2]
    wire.network.heal()
    assert wire.send(1) == [0, 1, 2, 0]


def test_a_clogged_link_delivers_in_one_burst() -> None:
    """Nothing before, everything after."""
    wire = Wire(NetworkConfig())
    wire.network.clog((A, B), 2 * SECOND_NS)
    assert wire.send(3) == []
    wire.queue.run_until(3 * SECOND_NS)
    assert wire.arrived == [0, 1, 2]


def test_a_half_open_link_loses_one_way_until_its_time_is_over() -> None:
    """And says nothing of it; the other links are as good as before."""
    wire = Wire(NetworkConfig())
    wire.network.make_lossy((B, A), 2 * SECOND_NS, 1.0)
    assert wire.send(2) == [0, 1]
    wire.network.make_lossy((A, B), 2 * SECOND_NS, 1.0)
    assert wire.send(2) == [0, 1]
    wire.queue.run_until(2 * SECOND_NS)
    assert wire.send(2) == [0, 1, 0, 1]


def test_a_lossy_link_loses_some() -> None:
    """The others lose nothing."""
    wire = Wire(NetworkConfig())
    wire.network.make_lossy((A, B), SECOND_NS, 0.4)
    assert 0 < len(wire.send(50)) < 50


def test_a_slow_link_brings_messages_one_after_the_other_and_takes_only_so_many() -> None:
    """Each of 60 bytes takes 60 ms; who sends faster than that finds it full."""
    wire = Wire(NetworkConfig(bytes_per_s=1_000))
    assert 14 <= len(wire.send(60)) <= 17
    wire.queue.run_until(10 * SECOND_NS)
    assert wire.arrived == list(range(26))
    assert wire.noted["links full"] == 34


def test_old_messages_come_again() -> None:
    """Some time later, and any of those that there were."""
    wire = Wire(NetworkConfig(replay=0.2))
    wire.send(300)
    wire.queue.run_until(10 * SECOND_NS)
    again = Counter(wire.arrived)
    assert wire.noted["messages replayed"] == sum(again.values()) - 300 > 20
    assert min(number for number, count in again.items() if count > 1) < 40
    assert max(number for number, count in again.items() if count > 1) > KEPT


def test_what_comes_again_is_not_what_an_older_directory_was_sent() -> None:
    """Who joins anew has new connections."""
    wire = Wire(NetworkConfig(replay=1.0))
    wire.send(10)
    wire.network.forget(B)
    arrived = len(wire.arrived)
    wire.queue.run_until(10 * SECOND_NS)
    assert len(wire.arrived) == arrived


def test_a_flipped_bit_breaks_the_connection_for_a_while() -> None:
    """Nothing that is sent meanwhile arrives."""
    wire = Wire(NetworkConfig(bit_flip=1.0))
    assert wire.send(3) == []
    assert wire.noted["flipped bits refused"] == 1


@pytest.mark.parametrize("seed", range(60))
def test_a_partition_blocks_links_between_two_nodes(seed: int) -> None:
    """And in a ring everybody still reaches a majority."""
    kind, links = partition(NODES, Random(seed))
    assert all(sender != to for sender, to in links)
    assert set(links) <= {(a, b) for a in NODES for b in NODES}
    if kind == "ring":
        for node in NODES:
            assert sum((node, other) not in links for other in NODES if other != node) >= 2


@pytest.mark.parametrize("count", range(4, 10))
def test_a_ring_cuts_links_and_leaves_everybody_a_majority_of_its_own(count: int) -> None:
    """A ring that blocks nothing would heal the partition before it, and count as one."""
    nodes = [NodeId(f"n{number}") for number in range(count)]
    drawn = (partition(nodes, Random(seed)) for seed in range(200))
    links = next(set(links) for kind, links in drawn if kind == "ring")
    seen = {a: {b for b in nodes if (a, b) not in links} for a in nodes}
    assert links == {(b, a) for a, b in links}
    assert all(count // 2 + 1 <= len(each) < count for each in seen.values())
    assert len({frozenset(each) for each in seen.values()}) > count // 2
