"""From one membership to the next: what may change, and in how many steps.

Two layers. *Steps* are the algebra of configurations, as etcd publishes test
data for it: set somebody's place, enter a joint configuration, leave it.
*Changes* are what an operator asks for; each becomes one configuration entry,
and the leader adds the second one by itself where the first is joint::

    AddLearner, Demote learner, Prefer       voters stay as they are: one entry
    Promote, Demote, Remove, Replace voter   a joint configuration of one step, then it is left

Nothing here knows a log: whether a change may be *appended* now is the leader's
to say (``leader``, ``core``).
"""

from collections.abc import Iterable
from enum import Enum
from typing import assert_never

import msgspec

from raftlog.base.errors import BadChange, HeldBack, MemberExists, MemberNotFound
from raftlog.base.ids import NodeId, ReplicaId
from raftlog.base.limits import LEARNERS_MAX, VOTERS_MAX
from raftlog.base.membership import MemberAddresses, Membership


class Place(Enum):
    """What a step makes of a replica."""

    VOTER = "voter"
    LEARNER = "learner"
    NOWHERE = "nowhere"


class Step(msgspec.Struct, frozen=True):
    """Set one replica's place."""

    replica: ReplicaId
    place: Place


class Fault(Enum):
    """Why a configuration can't be made from another one."""

    JOINT_ALREADY = "the configuration is joint already"
    NOT_JOINT = "the configuration is not joint, so there is nothing to leave"
    NO_VOTERS = "a configuration without voters can't become joint"
    MUST_LEAVE = "a joint configuration is left before anything else changes"
    TWO_VOTERS = "more than one voter would change without a joint configuration"
    LAST_VOTER = "no voter would remain"


class ImpossibleStep(ValueError):
    """The steps can't be made.

    Attributes:
        fault: Why.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


# -- the algebra


def simple(membership: Membership, steps: Iterable[Step]) -> Membership:
    """Return the configuration after ``steps`` that change at most one voter (Raft §4.1).

    Raises:
        ImpossibleStep: They change more, or leave no voter, or the configuration is joint.
    """
    if membership.is_joint:
        raise ImpossibleStep(Fault.MUST_LEAVE)
    changed = _after(membership, steps)
    if len(set(membership.voters) ^ set(changed.voters)) > 1:
        raise ImpossibleStep(Fault.TWO_VOTERS)
    return changed


def enter_joint(membership: Membership, steps: Iterable[Step]) -> Membership:
    """Return the joint configuration whose new half is made by ``steps`` (Raft §4.3).

    Raises:
        ImpossibleStep: It is joint already, or has no voters, or would have none.
    """
    if membership.is_joint:
        raise ImpossibleStep(Fault.JOINT_ALREADY)
    if not membership.voters:
        raise ImpossibleStep(Fault.NO_VOTERS)
    return _after(msgspec.structs.replace(membership, outgoing=membership.voters), steps)


def leave_joint(membership: Membership) -> Membership:
    """Return the new half of a joint configuration, alone.

    Raises:
        ImpossibleStep: It is not joint.
    """
    if not membership.is_joint:
        raise ImpossibleStep(Fault.NOT_JOINT)
    left = msgspec.structs.replace(
        membership,
        outgoing=(),
        learners=(*membership.learners, *membership.learners_next),
        learners_next=(),
    )
    return _with_known_addresses(left)


def _after(membership: Membership, steps: Iterable[Step]) -> Membership:
    voters = dict.fromkeys(membership.voters)
    learners = dict.fromkeys(membership.learners)
    learners_next = dict.fromkeys(membership.learners_next)
    for step in steps:
        replica = step.replica
        if step.place is Place.LEARNER and (replica in learners or replica in learners_next):
            continue
        for places in (voters, learners, learners_next):
            if step.place is not Place.VOTER or places is not voters:
                places.pop(replica, None)
        match step.place:
            case Place.VOTER:
                voters.setdefault(replica)
            case Place.LEARNER:
                # Who still votes in the outgoing half can't be a learner before that is left.
                is_outgoing = replica in membership.outgoing
                (learners_next if is_outgoing else learners)[replica] = None
            case Place.NOWHERE:
                pass
            case _:
                assert_never(step.place)
    if not voters:
        raise ImpossibleStep(Fault.LAST_VOTER)
    changed = msgspec.structs.replace(
        membership,
        voters=tuple(voters),
        learners=tuple(learners),
        learners_next=tuple(learners_next),
    )
    return _with_known_addresses(changed)


def _with_known_addresses(membership: Membership) -> Membership:
    """Forget the addresses of those who are no members any more."""
    return msgspec.structs.replace(membership, addresses=known_addresses(membership))


def known_addresses(membership: Membership) -> tuple[MemberAddresses, ...]:
    """Return the addresses of those who are members."""
    members = {replica.node for replica in membership.replicas}
    return tuple(each for each in membership.addresses if each.node in members)


# -- what operators ask for


class AddLearner(msgspec.Struct, frozen=True):
    """Send the log to ``replica``, too; it decides nothing yet.

    For a member it says where it is reached from now on.
    """

    replica: ReplicaId
    peer: str
    client: str

    @property
    def node(self) -> NodeId:
        """Who is added."""
        return self.replica.node


class Promote(msgspec.Struct, frozen=True):
    """Make a learner a voter, once it has caught up.

    ``by_itself``: the node asks for it, not an operator, so it is refused if an operator
    had made it a learner.
    """

    node: NodeId
    by_itself: bool = False


class Demote(msgspec.Struct, frozen=True):
    """Make a voter a learner, and keep a learner from becoming a voter by its own wish."""

    node: NodeId


class Remove(msgspec.Struct, frozen=True):
    """Send nothing more to a member, and count it no more. It may be the leader itself."""

    node: NodeId


class Replace(msgspec.Struct, frozen=True):
    """Remove this very replica: its node comes back with another directory.

    Whether it may be given up is the leader's to say: not while it is alive. Unlike
    ``Remove`` it leaves what operators have said about the node.
    """

    replica: ReplicaId

    @property
    def node(self) -> NodeId:
        """Whose replica it is."""
        return self.replica.node


class Prefer(msgspec.Struct, frozen=True):
    """Let one of ``nodes`` lead whenever it can, the first of them most."""

    nodes: tuple[NodeId, ...]


MemberChange = AddLearner | Promote | Demote | Remove | Replace | Prefer
"""The closed union of changes."""


def next_membership(membership: Membership, change: MemberChange) -> Membership | None:
    """Return the configuration that begins ``change``; None if all is so already.

    Raises:
        MemberNotFound: The node that is meant is no member.
        MemberExists: Another directory of the node is a member.
        HeldBack: The node asks to vote, and an operator has made it a learner.
        BadChange: No voter would remain, there would be too many members, or a learner is to lead.
    """
    assert not membership.is_joint, f"a change within a change: {membership}"
    if isinstance(change, Prefer):
        return _preferring(membership, change.nodes)
    replica = membership.find(change.node)
    match change:
        case AddLearner():
            return _added(membership, change, replica)
        case Promote():
            if change.by_itself and replica not in membership.voters:
                _refuse_held(membership, change.node)
            return _moved(_let_go(membership, change.node), change.node, replica, Place.VOTER)
        case Demote():
            return _demoted(membership, change.node, replica)
        case Remove():
            gone = _forgotten(membership, change.node)
            return _moved(gone, change.node, replica, Place.NOWHERE)
        case Replace():
            if replica != change.replica:
                return None
            return _moved(membership, change.node, replica, Place.NOWHERE)
        case _:
            assert_never(change)


def _added(
    membership: Membership, change: AddLearner, known: ReplicaId | None
) -> Membership | None:
    if known is not None and known != change.replica:
        raise MemberExists(
            f"{known} is a member, and {change.replica} is another directory of that node; remove "
            f"the member first: raftlog member remove {change.node}"
        )
    if membership.gave_up(change.replica):
        raise BadChange(
            f"{change.replica} was given up with a lost majority (raftlog node unsafe-recover); "
            f"move its directory away, and let it join as new: raftlog node run --join"
        )
    where = MemberAddresses(change.node, change.peer, change.client)
    if known is not None and membership.addresses_of(change.node) == where:
        return None
    added = membership
    if known is None:
        if len(membership.learners) >= LEARNERS_MAX:
            raise BadChange(f"the shard has {LEARNERS_MAX} learners, the most there can be")
        added = simple(membership, (Step(change.replica, Place.LEARNER),))
    others = tuple(each for each in added.addresses if each.node != change.node)
    return msgspec.structs.replace(added, addresses=(*others, where))


def _refuse_held(membership: Membership, node: NodeId) -> None:
    if node in membership.held:
        raise HeldBack(
            f"an operator made {node} a learner, so it does not become a voter by itself; to let "
            f"it vote: raftlog member promote {node}"
        )


def _let_go(membership: Membership, node: NodeId) -> Membership:
    """Forget that an operator made ``node`` a learner."""
    return msgspec.structs.replace(membership, held=_without(membership.held, node))


def _without(nodes: tuple[NodeId, ...], node: NodeId) -> tuple[NodeId, ...]:
    return tuple(each for each in nodes if each != node)


def _forgotten(membership: Membership, node: NodeId) -> Membership:
    """Forget all that operators have said about ``node``."""
    preferred = _without(membership.preferred, node)
    return msgspec.structs.replace(_let_go(membership, node), preferred=preferred)


def _preferring(membership: Membership, nodes: tuple[NodeId, ...]) -> Membership | None:
    if nodes == membership.preferred:
        return None
    for node in nodes:
        replica = membership.find(node)
        if replica is None:
            raise _no_member(membership, node)
        if replica not in membership.voters:
            raise BadChange(
                f"{node} is a learner, and only a voter can lead; promote it first: raftlog "
                f"member promote {node}"
            )
    if len(set(nodes)) != len(nodes):
        raise BadChange(f"a node is named twice in {', '.join(nodes)}")
    return msgspec.structs.replace(membership, preferred=nodes)


def _no_member(membership: Membership, node: NodeId) -> MemberNotFound:
    members = ", ".join(each.node for each in membership.replicas)
    return MemberNotFound(f"{node} is no member of the shard; its members are {members}")


def _demoted(membership: Membership, node: NodeId, replica: ReplicaId | None) -> Membership | None:
    is_held = node in membership.held
    demoted = _moved(membership, node, replica, Place.LEARNER)
    if is_held:
        return demoted
    return msgspec.structs.replace(demoted or membership, held=(*membership.held, node))


def _moved(
    membership: Membership, node: NodeId, replica: ReplicaId | None, place: Place
) -> Membership | None:
    if replica is None:
        raise _no_member(membership, node)
    is_voter = replica in membership.voters
    if is_voter is (place is Place.VOTER) and place is not Place.NOWHERE:
        return None
    step = Step(replica, place)
    if not is_voter and place is Place.NOWHERE:
        return simple(membership, (step,))
    if is_voter and len(membership.voters) == 1:
        raise BadChange(f"{node} is the only voter of the shard; promote another one first")
    if not is_voter and len(membership.voters) >= VOTERS_MAX:
        raise BadChange(f"the shard has {VOTERS_MAX} voters, the most there can be")
    if place is Place.LEARNER and len(membership.learners) >= LEARNERS_MAX:
        raise BadChange(f"the shard has {LEARNERS_MAX} learners, the most there can be")
    return enter_joint(membership, (step,))
