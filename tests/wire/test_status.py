"""Errors travel: what a client may meet arrives as the class it left as."""

from typing import Any

import pytest

from raftlog.base import errors
from raftlog.base.errors import (
    FaultyEntry,
    NotLeader,
    OffsetOutOfRange,
    OutcomeUnknown,
    OutOfOrder,
    RaftlogError,
    RecordTooLarge,
    Refused,
    Retriable,
    StorageFailed,
    Throttled,
    TopicNotFound,
    Unavailable,
    WrongMessageType,
)
from raftlog.base.ids import NodeId
from raftlog.base.limits import FRAME_HEADER_BYTES_MAX
from raftlog.wire.schema import status
from raftlog.wire.status import TRAVELLING, decode_error, encode_error

SPECIAL: dict[type[RaftlogError], RaftlogError] = {
    NotLeader: NotLeader(NodeId("n2"), "10.0.0.2:7200"),
    Throttled: Throttled("too many uncommitted bytes", 0.25),
    OffsetOutOfRange: OffsetOutOfRange(5, 7, 9),
    RecordTooLarge: RecordTooLarge(10, 5),
    TopicNotFound: TopicNotFound("ordes", "orders"),
    OutOfOrder: OutOfOrder(12),
    WrongMessageType: WrongMessageType("orders", ("fifo", "delayed"), "normal"),
}


def facts(error: RaftlogError) -> dict[str, object]:
    """Return everything that a program can read from an error."""
    return {"text": str(error), **vars(error)}


@pytest.mark.parametrize("kind", TRAVELLING.values(), ids=TRAVELLING.keys())
def test_an_error_arrives_as_the_class_it_left_as(kind: type[RaftlogError]) -> None:
    """With its text and every fact that a program acts on."""
    error = SPECIAL.get(kind) or kind("what to do")
    arrived = decode_error(encode_error(error))
    assert type(arrived) is kind
    assert facts(arrived) == facts(error)


def test_every_class_that_a_client_can_meet_travels() -> None:
    """A class added to the tree without a thought about the wire is found here."""
    families = (Retriable, OutcomeUnknown, errors.NotStored, Refused, errors.PeerRefused)
    expected = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, families) and kind is not Retriable
    }
    assert set(TRAVELLING.values()) == expected


@pytest.mark.parametrize(
    "fault", [FaultyEntry(7), StorageFailed("fsync", "/d", None, OSError(5, "EIO"))]
)
def test_a_fault_of_the_node_is_a_node_that_cannot_serve(fault: RaftlogError) -> None:
    """It is not the caller's mistake, and another node may do."""
    arrived = decode_error(encode_error(fault))
    assert type(arrived) is Unavailable
    assert str(fault) in str(arrived)


@pytest.mark.parametrize(
    ("facts_of", "kind"),
    [
        ({"outcome_unknown": True, "retriable": True}, OutcomeUnknown),
        ({"retriable": True}, Unavailable),
        ({}, Refused),
    ],
)
def test_a_code_from_a_newer_version_keeps_its_promises(
    facts_of: dict[str, Any], kind: type[RaftlogError]
) -> None:
    """An unknown outcome is never taken for a definite one."""
    header = status.Status(code="from_the_future", text="t", **facts_of).SerializeToString()
    assert type(decode_error(header)) is kind


def test_a_status_that_does_not_decode_is_an_error_too() -> None:
    """The caller of decode_error always gets an error, never an exception."""
    assert type(decode_error(b"\xff\xff")) is errors.ProtocolError


def test_a_hint_gets_the_address_that_only_the_server_knows() -> None:
    """The core names nodes; clients need addresses."""
    arrived = decode_error(encode_error(NotLeader(NodeId("n3")), "host:1"))
    assert isinstance(arrived, NotLeader)
    assert (arrived.leader_hint, arrived.leader_address) == ("n3", "host:1")


@pytest.mark.parametrize("error", [TopicNotFound, Refused, Throttled])
@pytest.mark.parametrize("character", ["x", "\N{GRINNING FACE}", "\n", "\ud800"])
def test_an_error_fits_into_a_frame_whatever_was_asked_for(
    error: type[RaftlogError], character: str
) -> None:
    """A request may name something of half a MiB, and be refused in words that repeat it."""
    header = encode_error(error(character * FRAME_HEADER_BYTES_MAX))
    assert len(header) < FRAME_HEADER_BYTES_MAX // 8
    assert type(decode_error(header)) is error
