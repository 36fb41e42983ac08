"""What a gate remembers of those who say hello, and what it does not."""

from typing import Final

import pytest

from raftlog.base.errors import GivenUp, RolledBack
from raftlog.base.ids import ClusterId, DirectoryId, Index, NodeId, ReplicaId, ShardId
from raftlog.base.membership import ForcedRecovery, Membership
from raftlog.transport.gate import PEERS, Gate
from raftlog.wire.greeting import Promise, Sender, peer_hello
from raftlog.wire.schema import hello

CLUSTER: Final = ClusterId("c" * 32)
N1: Final = ReplicaId(NodeId("n1"), DirectoryId("1" * 32))
N2: Final = ReplicaId(NodeId("n2"), DirectoryId("2" * 32))
SHARD: Final = ShardId(0)


def gate() -> Gate:
    """Return the gate of n1, in a shard with n2."""
    return Gate(CLUSTER, N1, (Membership((N1, N2)),))


def greet(
    one: Gate, sender: ReplicaId, *promises: Promise, run: int = 1, level: int = 0
) -> ReplicaId | None:
    """Say hello to n1 as ``sender``."""
    said = peer_hello(
        Sender(CLUSTER, sender, run, level),
        hello.PURPOSE_CONTROL,
        (N1.node, N1.directory),
        promises,
    )
    return one.admit(hello.Hello.FromString(said), PEERS)


def test_claimed_names_take_no_memory() -> None:
    """Whoever knows the cluster's id can say hello under any name, as often as it likes."""
    one = gate()
    for number in range(1_000):
        stranger = ReplicaId(NodeId(f"x{number}"), DirectoryId(f"{number:032x}"))
        assert greet(one, stranger, Promise(SHARD, 1, 1)) == stranger
        assert greet(one, ReplicaId(N2.node, DirectoryId(f"{number:032x}"))) is not None
    assert one.promised == {}


def test_what_a_member_can_apply_is_as_its_last_hello_said() -> None:
    """Of nobody else, and not of another directory of its name: that may have another version."""
    one = gate()
    assert one.level_of(N2) == 0
    greet(one, N2, level=2)
    greet(one, N2, run=2, level=3)
    assert one.level_of(N2) == 3
    again = ReplicaId(N2.node, DirectoryId("3" * 32))
    greet(one, again, level=9)
    assert one.level_of(again) == 0
    one.follow((Membership((N1, again)),))
    assert one.level_of(N2) == 0


def test_claimed_shards_take_no_memory() -> None:
    """A shard that n2 has no part in promises nothing."""
    one = gate()
    for number in range(1_000):
        greet(one, N2, Promise(ShardId(number), 1, 1))
    assert one.promised == {N2: (1, {SHARD: (1, 1)})}


@pytest.mark.parametrize(("sequence", "unit"), [(6, 500), (7, 499), (7, 100)])
def test_a_restart_must_not_know_less_than_it_promised(sequence: int, unit: int) -> None:
    """Hard state by hello, write units also by the answers to appends (ruling 16)."""
    one = gate()
    greet(one, N2, Promise(SHARD, 7, 100))
    one.note_unit(N2, SHARD, 500)
    one.note_unit(N2, SHARD, 400)
    assert greet(one, N2, Promise(SHARD, 7, 100)) == N2, "the same process, said earlier"
    with pytest.raises(RolledBack):
        greet(one, N2, Promise(SHARD, sequence, unit), run=2)
    assert greet(one, N2, Promise(SHARD, 7, 500), run=2) == N2


def test_who_is_no_member_is_not_noted() -> None:
    """An answer under a claimed name changes nothing."""
    one = gate()
    greet(one, N2, Promise(SHARD, 7, 100))
    one.note_unit(ReplicaId(N2.node, DirectoryId("3" * 32)), SHARD, 500)
    one.note_unit(N2, ShardId(9), 500)
    assert one.promised == {N2: (1, {SHARD: (7, 100)})}


def test_who_was_given_up_is_not_listened_to() -> None:
    """It may lead others of its kind, with entries that this cluster went on without."""
    one = gate()
    assert greet(one, N2) == N2
    mark = ForcedRecovery(Index(9), 0, N1, (N2,))
    one.follow((Membership((N1,)), Membership((N1,), recovery=mark)))
    with pytest.raises(GivenUp):
        greet(one, N2)
    again = ReplicaId(N2.node, DirectoryId("3" * 32))
    assert greet(one, again) == again


def test_who_is_a_member_later_is_remembered_then() -> None:
    """n1 was new, or far behind: it learned from the log who its peers are (ruling 16)."""
    one = Gate(CLUSTER, N1, (Membership((N1,)),))
    said = hello.Hello.FromString(
        peer_hello(
            Sender(CLUSTER, N2, 1),
            hello.PURPOSE_CONTROL,
            (N1.node, N1.directory),
            (Promise(SHARD, 7, 100),),
        )
    )
    assert one.admit(said, PEERS) == N2
    one.remember(N2, said)
    assert one.promised == {}
    one.follow((Membership((N1, N2)),))
    one.remember(N2, said)
    one.note_unit(N2, SHARD, 500)
    one.remember(N2, said)
    assert one.promised == {N2: (1, {SHARD: (7, 500)})}
    with pytest.raises(RolledBack):
        greet(one, N2, Promise(SHARD, 7, 300), run=2)
