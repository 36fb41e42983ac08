"""Requests of ``members.proto``."""

from typing import cast

from raftlog.service.answers import answer_with
from raftlog.service.members import MemberService, MembersState
from raftlog.service.ports import ClientRequest
from raftlog.wire.schema import members


def list_(service: MemberService, request: ClientRequest) -> None:
    """Tell the members and how far each is."""
    service.list(answer_with(request, _members))


def add(service: MemberService, request: ClientRequest) -> None:
    """Add a learner."""
    message = cast("members.AddMember", request.message)
    service.add(
        *(message.node, message.directory, message.peer_address, message.client_address),
        answer=answer_with(request, _members),
    )


def promote(service: MemberService, request: ClientRequest) -> None:
    """Make a learner a voter."""
    message = cast("members.PromoteMember", request.message)
    service.promote(message.node, answer_with(request, _members), by_itself=message.by_itself)


def demote(service: MemberService, request: ClientRequest) -> None:
    """Make a voter a learner."""
    message = cast("members.DemoteMember", request.message)
    service.demote(message.node, answer_with(request, _members))


def remove(service: MemberService, request: ClientRequest) -> None:
    """Remove a member, or what a new directory of its node is to replace."""
    message = cast("members.RemoveMember", request.message)
    service.remove(message.node, message.directory, answer_with(request, _members))


def prefer(service: MemberService, request: ClientRequest) -> None:
    """Let some rather lead than others."""
    message = cast("members.PreferLeader", request.message)
    service.prefer(message.nodes, answer_with(request, _members))


def _members(state: MembersState) -> members.Members:
    return members.Members(
        members=[
            members.Member(
                node=each.replica.node,
                directory=each.replica.directory,
                place=each.place,
                peer_address=each.peer,
                client_address=each.client,
                match=each.match,
                caught_up=each.caught_up,
                leads=each.leads,
                held=each.held,
                alive=each.alive,
                preference=each.preference,
            )
            for each in state.members
        ],
        joint=state.joint,
        last=state.last,
        decided=state.decided,
    )
