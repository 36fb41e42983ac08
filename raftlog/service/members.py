"""Who the members of a shard are, and changes of that, asked of its leader.

The core decides what may change and when; here an operator's words become a
change, and the outcome becomes what the members look like afterwards. A leader
that has removed itself answers before it steps down.
"""

from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from raftlog.base.errors import BadName, BadRequest, NotLeader, RaftlogError
from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId
from raftlog.base.membership import Membership
from raftlog.node.change import OnChanged
from raftlog.raft.changes import AddLearner, Demote, MemberChange, Prefer, Promote, Remove, Replace
from raftlog.raft.config import CoreStatus
from raftlog.service.proposing import Reply
from raftlog.wire.address import parse_address

NODE_CHARACTERS_MAX: Final = 32
DIRECTORY_CHARACTERS: Final = 32
ADDRESS_CHARACTERS_MAX: Final = 255


class Seen(Protocol):
    """What a replica knows of the members."""

    def progress_of(self, node: NodeId) -> tuple[Index, bool] | None:
        """Return a member's last known entry and whether it has caught up."""

    def is_alive(self, node: NodeId) -> bool:
        """Whether a member was heard lately, as far as a leader can know."""

    @property
    def are_decided(self) -> bool:
        """Whether this replica leads, and knows that its members are committed."""


class Changeable(Protocol):
    """What is needed of a replica (``node.Replica``). Everything is called on the loop."""

    id: ReplicaId

    @property
    def leads(self) -> bool:
        """Whether this replica leads."""

    @property
    def leader(self) -> NodeId | None:
        """Who leads, as far as known."""

    @property
    def membership(self) -> Membership:
        """The configuration in force."""

    @property
    def members(self) -> Seen:
        """The members, as this replica sees them."""

    def change_members(self, change: MemberChange, on_changed: OnChanged) -> None:
        """Change the members; ``on_changed`` is told once."""

    def status(self) -> CoreStatus:
        """Return what the core believes."""


class MemberState(msgspec.Struct, frozen=True):
    """One member. ``place``: voter, learner, leaving or demoting (votes until the change ends).

    ``held``: an operator made it a learner. ``alive``: the leader has heard it lately.
    ``preference``: as a leader, 1 for the most preferred one; 0: it is not preferred.
    """

    replica: ReplicaId
    place: str
    peer: str
    client: str
    match: Index
    caught_up: bool
    leads: bool
    held: bool
    alive: bool
    preference: int


class MembersState(msgspec.Struct, frozen=True):
    """All members, the leader's last entry, and whether a change is under way.

    ``decided``: the leader knows that this is committed.
    """

    members: tuple[MemberState, ...]
    joint: bool
    last: Index
    decided: bool


class MemberService:
    """The use-cases."""

    def __init__(self, replica: Changeable) -> None:
        self._replica: Final = replica

    def list(self, answer: Reply[MembersState]) -> None:
        """Tell the members, if this node leads; ``NotLeader`` otherwise."""
        if not self._replica.leads:
            answer(NotLeader(self._replica.leader))
        else:
            answer(self._described(self._replica.membership))

    def add(
        self, node: str, directory: str, peer: str, client: str, answer: Reply[MembersState]
    ) -> None:
        """Add a learner, or say where a member is reached from now on."""
        refusal = _why_not(node, directory, (peer, client))
        if refusal is not None:
            answer(refusal)
            return
        replica = ReplicaId(NodeId(node), DirectoryId(directory))
        self._change(AddLearner(replica, peer, client), answer)

    def promote(self, node: str, answer: Reply[MembersState], *, by_itself: bool = False) -> None:
        """Make a learner a voter; ``NotCaughtUp`` before it has the log."""
        self._change(Promote(NodeId(node), by_itself), answer)

    def demote(self, node: str, answer: Reply[MembersState]) -> None:
        """Make a voter a learner."""
        self._change(Demote(NodeId(node)), answer)

    def remove(self, node: str, directory: str, answer: Reply[MembersState]) -> None:
        """Remove a member, which may be the leader.

        With ``directory`` only that one of the node, and only if it is not alive.
        """
        name = NodeId(node)
        change: MemberChange = Remove(name)
        if directory:
            change = Replace(ReplicaId(name, DirectoryId(directory)))
        self._change(change, answer)

    def prefer(self, nodes: Iterable[str], answer: Reply[MembersState]) -> None:
        """Let one of ``nodes`` lead whenever it can, the first of them most."""
        self._change(Prefer(tuple(NodeId(node) for node in nodes)), answer)

    def _change(self, change: MemberChange, answer: Reply[MembersState]) -> None:
        def changed(outcome: Membership | RaftlogError) -> None:
            if isinstance(outcome, RaftlogError):
                answer(outcome)
            else:
                answer(self._described(outcome))

        self._replica.change_members(change, changed)

    def _described(self, membership: Membership) -> MembersState:
        return MembersState(
            tuple(self._member(membership, replica) for replica in membership.replicas),
            joint=membership.is_joint,
            last=self._replica.status().last,
            decided=self._replica.members.are_decided,
        )

    def _member(self, membership: Membership, replica: ReplicaId) -> MemberState:
        where = membership.addresses_of(replica.node)
        seen = self._replica.members
        match, caught_up = seen.progress_of(replica.node) or (Index(0), False)
        return MemberState(
            replica=replica,
            place=place_of(membership, replica),
            peer=where.peer if where is not None else "",
            client=where.client if where is not None else "",
            match=match,
            caught_up=caught_up,
            leads=replica == self._replica.id and self._replica.leads,
            held=replica.node in membership.held,
            alive=seen.is_alive(replica.node),
            preference=_preference(membership, replica.node),
        )


def place_of(membership: Membership, replica: ReplicaId) -> str:
    """Return what a member is: voter, learner, leaving or demoting."""
    if replica in membership.voters:
        return "voter"
    if replica in membership.learners:
        return "learner"
    return "demoting" if replica in membership.learners_next else "leaving"


def _preference(membership: Membership, node: NodeId) -> int:
    preferred = membership.preferred
    return preferred.index(node) + 1 if node in preferred else 0


def _why_not(node: str, directory: str, addresses: tuple[str, str]) -> RaftlogError | None:
    """Return what is wrong with the facts of a new member, if anything is."""
    if not 0 < len(node) <= NODE_CHARACTERS_MAX or not node.isascii():
        return BadName(f"{node!r} is no node's name: 1 to {NODE_CHARACTERS_MAX} ASCII characters")
    if len(directory) != DIRECTORY_CHARACTERS or not directory.isalnum():
        return BadRequest(
            f"{directory!r} is no directory's id; it is what the node itself says of it"
        )
    for address in addresses:
        try:
            parse_address(address)
        except ValueError as error:
            return BadRequest(str(error))
        if len(address) > ADDRESS_CHARACTERS_MAX:
            return BadRequest(f"an address of {len(address)} characters is too long")
    return None
