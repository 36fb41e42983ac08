"""Errors cross gRPC as they cross framed TCP; what gRPC itself says is never taken for more."""

from urllib.parse import quote

import grpc
import grpc.aio
import pytest

from raftlog.base.errors import (
    BadRequest,
    NotLeader,
    OffsetOutOfRange,
    Outcome,
    OutcomeUnknown,
    OutOfOrder,
    RaftlogError,
    RecordTooLarge,
    Refused,
    StorageFailed,
    Throttled,
    TopicNotFound,
    Unavailable,
    WrongMessageType,
)
from raftlog.base.ids import NodeId
from raftlog.base.limits import NAME_CHARACTERS_MAX
from raftlog.gateway.grpc.statuses import (
    CODES,
    DETAILS_KEY,
    TEXT_CHARACTERS_MAX,
    code_of,
    status_of,
    typed_error,
)
from raftlog.wire.status import TRAVELLING

Code = grpc.StatusCode
WITH_FACTS: dict[type[RaftlogError], RaftlogError] = {
    NotLeader: NotLeader(NodeId("n2"), "127.0.0.1:7202"),
    Throttled: Throttled("the disk is full", 2.5),
    OffsetOutOfRange: OffsetOutOfRange(9, 3, 7),
    RecordTooLarge: RecordTooLarge(11, 10),
    TopicNotFound: TopicNotFound("ordes", "orders"),
    OutOfOrder: OutOfOrder(12),
    WrongMessageType: WrongMessageType("orders", ("fifo",), "delayed"),
}


def received(code: grpc.StatusCode, text: str = "", details: bytes | None = None) -> grpc.RpcError:
    """Return what a stub raises."""
    trailing = (
        grpc.aio.Metadata() if details is None else grpc.aio.Metadata((DETAILS_KEY, details))
    )
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, text)


@pytest.mark.parametrize("kind", TRAVELLING.values(), ids=lambda kind: kind.__name__)
def test_an_error_arrives_as_the_class_it_left_as(kind: type[RaftlogError]) -> None:
    """With its text and its facts, as on framed TCP."""
    error = WITH_FACTS.get(kind) or kind("what happened")
    status = status_of(error)
    told = typed_error(received(status.code, status.text, status.details))
    assert type(told) is kind
    assert status.text == str(told) == str(error)
    public = {name: value for name, value in vars(error).items() if name != "ticket"}
    assert public.items() <= vars(told).items()


def test_a_leader_s_address_goes_along() -> None:
    """A program without our client can ask there."""
    status = status_of(NotLeader(NodeId("n3")), "n3.example:1")
    told = typed_error(received(status.code, status.text, status.details))
    assert isinstance(told, NotLeader)
    assert (told.leader_hint, told.leader_address) == ("n3", "n3.example:1")


def test_a_fault_of_the_node_s_own_is_unavailable() -> None:
    """As on framed TCP: the code must not say more than the details."""
    status = status_of(StorageFailed("fsync", "/disk/x", None, OSError(5, "I/O error")))
    assert status.code is Code.UNAVAILABLE
    assert isinstance(typed_error(received(*status)), Unavailable)


def test_the_codes_keep_the_promises_of_the_classes() -> None:
    """Retry policies of gRPC know codes only: our UNAVAILABLE means that nothing was done."""
    for kind in TRAVELLING.values():
        code = code_of(kind)
        if code is Code.UNAVAILABLE:
            assert kind.retriable, kind
        assert (code is Code.UNKNOWN) == (kind.outcome is Outcome.UNKNOWN), kind
    assert all(code not in {Code.OK, Code.CANCELLED, Code.INTERNAL} for code in CODES.values())


def test_a_text_without_end_is_cut() -> None:
    """Metadata over 8 KiB would be thrown away by the client, code and all."""
    status = status_of(Refused("\N{CJK UNIFIED IDEOGRAPH-6F22}" * 100_000))
    assert len(status.text) == TEXT_CHARACTERS_MAX
    encoded = len(status.text.encode()) * 3 + len(status.details) * 4 // 3
    assert encoded < 8_000
    assert type(typed_error(received(*status))) is Refused


@pytest.mark.parametrize("character", ["\N{GRINNING FACE}", "\n", "x"])
@pytest.mark.parametrize("length", [NAME_CHARACTERS_MAX, 100_000])
def test_whatever_is_asked_for_the_refusal_fits_into_the_metadata(
    character: str, length: int
) -> None:
    """What a client is told instead is no answer: it would not know whether it was refused."""
    status = status_of(TopicNotFound(character * length, "orders"))
    encoded = len(quote(status.text)) + len(status.details) * 4 // 3
    assert encoded < 8_000
    told = typed_error(received(*status))
    assert isinstance(told, TopicNotFound)
    assert (told.topic, told.nearest) == (character * NAME_CHARACTERS_MAX, "orders")


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
@pytest.mark.parametrize("changes", [True, False])
def test_a_status_that_no_handler_made_is_an_unknown_outcome(
    code: grpc.StatusCode, *, changes: bool
) -> None:
    """A connection that broke after the node had stored the batch says UNAVAILABLE, too."""
    told = typed_error(received(code, "from gRPC"), changes=changes)
    if code in {Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED, Code.UNAUTHENTICATED}:
        assert type(told) is BadRequest
    elif changes:
        assert type(told) is OutcomeUnknown
    else:
        assert type(told) is (Refused if code is Code.RESOURCE_EXHAUSTED else Unavailable)
    assert "from gRPC" in str(told)
