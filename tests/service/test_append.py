"""Appending: checked once before it is proposed, answered exactly once."""

import pytest

from raftlog.base.errors import (
    BadBatch,
    NotCommitted,
    NotLeader,
    OutcomeUnknown,
    RaftlogError,
    RecordTooLarge,
    Throttled,
    WrongQueue,
)
from raftlog.base.ids import Index, NodeId, Offset
from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.service.append import AppendReceipt, AppendService
from raftlog.wire.batch import encode_columns
from tests.service.fakes import TERM, FakeReplica

BATCH = encode_columns([b"a", b"b"], timestamp_ms=5)


def world() -> tuple[FakeReplica, AppendService, list[AppendReceipt | RaftlogError]]:
    replica = FakeReplica()
    return replica, AppendService(replica), []


def test_a_receipt_says_where_the_batch_is() -> None:
    """Term and index name it for ever; the offset is where to read it."""
    replica, service, answers = world()
    service.append(0, BATCH, answers.append)
    service.append(0, BATCH, answers.append)
    assert answers == []
    replica.commit()
    assert answers == [
        AppendReceipt(Offset(0), 2, TERM, Index(1)),
        AppendReceipt(Offset(2), 2, TERM, Index(1)),
    ]


BAD: dict[str, tuple[int, bytes, type[RaftlogError]]] = {
    "another queue": (1, BATCH, WrongQueue),
    "no batch": (0, b"", BadBatch),
    "a flipped bit": (0, BATCH[:-1] + bytes([BATCH[-1] ^ 1]), BadBatch),
    "cut short": (0, BATCH[:-1], BadBatch),
    "too large": (0, bytes(BATCH_BYTES_MAX + 1), RecordTooLarge),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_refused_before_anything_is_appended(case: str) -> None:
    """Refused means that it never happened; nobody repairs a bad batch in the log."""
    queue, batch, expected = BAD[case]
    replica, service, answers = world()
    service.append(queue, batch, answers.append)
    assert [type(answer) for answer in answers] == [expected]
    replica.commit()
    end = replica.machine.queues.find(0).end_offset
    assert (end, service.refused, service.batches) == (0, 1, 0)


@pytest.mark.parametrize(
    "error", [NotLeader(NodeId("n2")), Throttled("much waits")], ids=lambda error: error.code
)
def test_a_refusal_of_the_replica_is_passed_on(error: RaftlogError) -> None:
    """The client needs the hint in it."""
    replica, service, answers = world()
    replica.refusal = error
    service.append(0, BATCH, answers.append)
    assert answers == [error]


@pytest.mark.parametrize("error", [NotCommitted("replaced"), OutcomeUnknown("stepped down")])
def test_the_fate_of_a_proposal_is_passed_on_as_it_is(error: RaftlogError) -> None:
    """Never happened and nobody knows must not be mixed up on the way (ruling 22)."""
    replica, service, answers = world()
    service.append(0, BATCH, answers.append)
    replica.fail_proposals(error)
    assert answers == [error]
