"""When a node that hears no leader is certain that it was removed."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec import structs

from raftlog.base.errors import Unavailable
from raftlog.base.ids import DirectoryId, NodeId, ReplicaId, ShardId
from raftlog.base.membership import NOBODY, Membership
from raftlog.client.shard_members import MemberInfo
from raftlog.server.removal import LOOKS, RemovalWatch

pytestmark = pytest.mark.asyncio
MINE = DirectoryId("d" * 32)
ME = ReplicaId(NodeId("n4"), MINE)
MEMBER = MemberInfo(
    *("n4", MINE, "voter", "", ""),
    match=0,
    lag=0,
    caught_up=True,
    leads=False,
    held=False,
    alive=False,
    shard=0,
)
ANOTHER = structs.replace(MEMBER, directory="e" * 32)
"""The same node, come back with a new directory."""


class Replica:
    """Follows, or does not."""

    def __init__(self, leader: NodeId | None, membership: Membership) -> None:
        self.leader = leader
        self.membership = membership


class Shards:
    """Answers in turn, the last one for ever."""

    def __init__(self, *answers: Sequence[MemberInfo] | Unavailable | None) -> None:
        self.answers = list(answers)
        self.asked: list[ShardId] = []

    async def __call__(self, shard: ShardId) -> Sequence[MemberInfo] | None:
        """Answer."""
        self.asked.append(shard)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Unavailable):
            raise answer
        return answer


async def ends(
    shards: Shards,
    *replicas: Replica,
    is_wanted: bool = True,
) -> bool:
    """Return whether the watch ends within many looks."""
    watch = RemovalWatch(
        {ShardId(number): replica for number, replica in enumerate(replicas)},
        MINE,
        shards,
        is_wanted=lambda: is_wanted,
        pause_s=0,
    )
    watching = asyncio.ensure_future(watch.until_removed())
    for _ in range(30 * LOOKS):
        await asyncio.sleep(0)
    has_ended = watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return has_ended


def forlorn() -> Replica:
    """Return a voter, as it believes, that hears nobody."""
    return Replica(None, Membership((ME,)))


async def test_it_ends_when_every_shard_says_that_it_is_no_member() -> None:
    """Also if its name has come back with another directory."""
    assert await ends(Shards([]), forlorn())
    assert await ends(Shards([ANOTHER]), forlorn(), forlorn())


@pytest.mark.parametrize(
    "answer", [None, [MEMBER], Unavailable("nobody leads")], ids=["undecided", "member", "nobody"]
)
async def test_it_does_not_end_while_it_may_be_a_member(
    answer: Sequence[MemberInfo] | Unavailable | None,
) -> None:
    """It is behind, or a removal may still be taken back, or there is no majority."""
    assert not await ends(Shards(answer), forlorn())


async def test_one_shard_is_enough_to_stay_for() -> None:
    """A removal goes from shard to shard, and may have been broken off."""
    answers: list[Sequence[MemberInfo]] = [[], [MEMBER]]
    assert not await ends(Shards(*answers), forlorn(), forlorn())


async def test_nobody_is_asked_while_there_is_no_need() -> None:
    """A leader is heard; the node is new; or it is just joining."""
    shards = Shards([])
    follows = Replica(NodeId("n1"), Membership((ME,)))

    assert not await ends(shards, follows)
    assert not await ends(shards, forlorn(), follows)
    assert not await ends(shards, Replica(None, NOBODY))
    assert not await ends(shards, forlorn(), is_wanted=False)
    assert shards.asked == []


async def test_it_ends_once_the_answer_is_certain() -> None:
    """First nobody leads, then the removal is not committed yet."""
    assert await ends(Shards(Unavailable("nobody leads"), None, []), forlorn())
