"""The members of one shard: who they are, and changes of that, asked of its leader."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from google.protobuf.message import Message

from raftlog.base.errors import MemberNotFound, OutcomeUnknown
from raftlog.client.asking import Asker
from raftlog.wire.frame import Method
from raftlog.wire.schema import members

COMMIT_WAIT_S: Final = 8.0
"""For a change to be committed; after that another node is asked."""
VOTER: Final = "voter"


class MemberInfo(msgspec.Struct, frozen=True):
    """One member of a shard, as its leader sees it.

    Attributes:
        node: Its name.
        directory: The id of its data directory.
        place: "voter", "learner", or what votes until a change ends: "leaving", "demoting".
        peer: Where the other nodes reach it; "" if it was there from the beginning.
        client: Where clients reach it; "" likewise.
        match: The last entry that it is known to have durably.
        lag: How many entries the leader has more.
        caught_up: Whether it may vote; a voter does.
        leads: Whether it leads.
        held: Whether an operator made it a learner: it does not become a voter by itself.
        alive: Whether the leader has heard it lately, or is too new to know.
        shard: Which shard.
        preference: As a leader: 1 for the most preferred one, 0 for one that is not preferred.
    """

    node: str
    directory: str
    place: str
    peer: str
    client: str
    match: int
    lag: int
    caught_up: bool
    leads: bool
    held: bool
    alive: bool
    shard: int
    preference: int = 0


Rows = tuple[MemberInfo, ...]


class ShardMembers:
    """One shard's members. Every method returns them as they are afterwards."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    @property
    def shard(self) -> int:
        """Which shard."""
        return self._asker.shard

    async def list(self, timeout_s: float) -> Rows:
        """Return the members."""
        return await self._ask(Method.MEMBER_LIST, members.ListMembers(), timeout_s)

    async def decided(self, timeout_s: float) -> Rows | None:
        """Return the members if they are committed; None while they may still change back."""
        answer, _ = await self._asker.ask(
            *(Method.MEMBER_LIST, members.ListMembers(), members.Members), timeout_s=timeout_s
        )
        return self._read(answer) if answer.decided else None

    async def add(
        self, node: str, directory: str, peer: str, client: str, timeout_s: float
    ) -> Rows:
        """Add a learner."""
        message = members.AddMember(
            node=node, directory=directory, peer_address=peer, client_address=client
        )
        return await self._ask(Method.MEMBER_ADD, message, timeout_s)

    async def promote(self, node: str, timeout_s: float, *, by_itself: bool = False) -> Rows:
        """Make a learner a voter; ``by_itself``: not if an operator had made it one."""
        message = members.PromoteMember(node=node, by_itself=by_itself)
        return await self._ask(Method.MEMBER_PROMOTE, message, timeout_s)

    async def demote(self, node: str, timeout_s: float) -> Rows:
        """Make a voter a learner."""
        return await self._ask(Method.MEMBER_DEMOTE, members.DemoteMember(node=node), timeout_s)

    async def prefer(self, nodes: Sequence[str], timeout_s: float) -> Rows:
        """Let one of ``nodes`` lead whenever it can, the first of them most."""
        return await self._ask(Method.LEADER_PREFER, members.PreferLeader(nodes=nodes), timeout_s)

    async def replace(self, node: str, directory: str, timeout_s: float) -> Rows:
        """Remove this directory's replica, unless it is alive: another one takes its place."""
        message = members.RemoveMember(node=node, directory=directory)
        return await self._ask(Method.MEMBER_REMOVE, message, timeout_s)

    async def remove(self, node: str, timeout_s: float) -> Rows:
        """Remove a member."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        message = members.RemoveMember(node=node)
        was_asked = False
        while True:
            left_s = max(0.1, deadline - loop.time())
            try:
                answer, _ = await self._asker.ask(
                    *(Method.MEMBER_REMOVE, message, members.Members),
                    timeout_s=left_s,
                    wait_s=COMMIT_WAIT_S,
                )
            except OutcomeUnknown:
                # A leader that removes itself may be gone before its answer is heard.
                was_asked = True
                if loop.time() >= deadline:
                    raise
            except MemberNotFound:
                if not was_asked:
                    raise
                return await self.list(left_s)
            else:
                return self._read(answer)

    async def _ask(self, method: Method, message: Message, timeout_s: float) -> Rows:
        answer, _ = await self._asker.ask(
            *(method, message, members.Members),
            timeout_s=timeout_s,
            wait_s=COMMIT_WAIT_S,
            repeats=True,
        )
        return self._read(answer)

    def _read(self, answer: members.Members) -> Rows:
        return tuple(
            MemberInfo(
                node=each.node,
                directory=each.directory,
                place=each.place,
                peer=each.peer_address,
                client=each.client_address,
                match=each.match,
                lag=max(0, answer.last - each.match),
                caught_up=each.caught_up or each.place == VOTER,
                leads=each.leads,
                held=each.held,
                alive=each.alive,
                shard=self.shard,
                preference=each.preference,
            )
            for each in answer.members
        )
