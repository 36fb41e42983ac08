"""Administration of the members: who they are, and changes of that, one at a time."""

import asyncio
from typing import Final

import msgspec
from google.protobuf.message import Message

from raftlog.base.errors import MemberNotFound, OutcomeUnknown
from raftlog.client.asking import Asker
from raftlog.client.durations import Duration, seconds
from raftlog.wire.frame import Method
from raftlog.wire.schema import members

COMMIT_WAIT_S: Final = 8.0
"""For a change to be committed; after that another node is asked."""
VOTER: Final = "voter"


class MemberInfo(msgspec.Struct, frozen=True):
    """One member of the cluster, as its leader sees it.

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


class Members:
    """The members of a cluster: ``client.members``.

    Every method returns all members as they are then, and raises ``Unavailable`` when there
    is no leader within its timeout (seconds; without it, the client's). What is so already
    changes nothing, so whatever was interrupted may be asked again.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def list(self, *, timeout: Duration | None = None) -> tuple[MemberInfo, ...]:
        """Return the members."""
        return _read(await self._ask(Method.MEMBER_LIST, members.ListMembers(), timeout))

    async def add(
        self,
        node: str,
        *,
        directory: str,
        peer: str,
        client: str,
        timeout: Duration | None = None,
    ) -> tuple[MemberInfo, ...]:
        """Add ``node`` as a learner: it is sent the log and decides nothing.

        Args:
            node: Its name.
            directory: The id of its data directory, as ``status`` of that node says it.
            peer: ``host:port`` where the other nodes reach it.
            client: ``host:port`` where clients reach it.
            timeout: See above.

        Raises:
            MemberExists: Another directory of the node is a member: remove that first.
            BadChange: There are too many learners.
            ChangePending: Other changes took all the time.
        """
        message = members.AddMember(
            node=node, directory=directory, peer_address=peer, client_address=client
        )
        return _read(await self._ask(Method.MEMBER_ADD, message, timeout))

    async def promote(
        self, node: str, *, timeout: Duration | None = None
    ) -> tuple[MemberInfo, ...]:
        """Make a learner a voter as soon as it has caught up.

        Raises:
            NotCaughtUp: It has not in time.
            MemberNotFound: It is no member.
            BadChange: There are too many voters.
        """
        message = members.PromoteMember(node=node)
        return _read(await self._ask(Method.MEMBER_PROMOTE, message, timeout))

    async def demote(
        self, node: str, *, timeout: Duration | None = None
    ) -> tuple[MemberInfo, ...]:
        """Make a voter a learner.

        Raises:
            MemberNotFound: It is no member.
            BadChange: It is the only voter, or there are too many learners.
        """
        message = members.DemoteMember(node=node)
        return _read(await self._ask(Method.MEMBER_DEMOTE, message, timeout))

    async def remove(
        self, node: str, *, timeout: Duration | None = None
    ) -> tuple[MemberInfo, ...]:
        """Remove a member, which may be the leader or be down.

        Raises:
            MemberNotFound: It is no member.
            BadChange: It is the only voter.
        """
        loop = asyncio.get_running_loop()
        patience_s = self._asker.timeout_s if timeout is None else seconds(timeout)
        deadline = loop.time() + patience_s
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
                return await self.list(timeout=left_s)
            else:
                return _read(answer)

    async def _ask(
        self, method: Method, message: Message, timeout: Duration | None
    ) -> members.Members:
        answer, _ = await self._asker.ask(
            *(method, message, members.Members),
            timeout_s=None if timeout is None else seconds(timeout),
            wait_s=COMMIT_WAIT_S,
            repeats=True,
        )
        return answer


def _read(answer: members.Members) -> tuple[MemberInfo, ...]:
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
        )
        for each in answer.members
    )
