"""The invariants about clients, states and liveness see what they are for."""

import msgspec
import pytest

from chaos.check.acked_present import History, Place
from chaos.check.liveness import ReplicaView, why_not_converged
from chaos.check.real_time_order import RealTimeOrder
from chaos.check.state_machine_safety import StateMachineSafety
from chaos.check.violation import Violation
from raftlog.base.ids import Index, Term
from tests.check.facts import N1, N2, N3

STORED = {b"a": Place(3, 0), b"u": Place(4, 0)}
BAD_LOGS = [
    ("acked and lost", {b"u": Place(4, 0)}, "is lost"),
    ("acked and moved", {b"a": Place(5, 0)}, "is at 5"),
    ("failed and stored", {**STORED, b"f": Place(6, 0)}, "told never"),
    ("invented", {**STORED, b"i": Place(6, 0)}, "nobody sent"),
]


def history() -> History:
    """One value acked at 3, one failed, one unknown."""
    told = History()
    for value in (b"a", b"f", b"u"):
        told.sends(value)
    told.ends_ok(b"a", 3)
    told.ends_failed(b"f")
    return told


@pytest.mark.parametrize("stored", [STORED, {b"a": Place(3, 0)}])
def test_an_unknown_append_may_be_there_or_not(stored: dict[bytes, Place]) -> None:
    """Unknown is a result (R5)."""
    history().check(stored, stored)


@pytest.mark.parametrize(("stored", "why"), [row[1:] for row in BAD_LOGS])
def test_a_log_that_breaks_a_clients_word_is_seen(stored: dict[bytes, Place], why: str) -> None:
    """Lost, moved, never, invented."""
    with pytest.raises(Violation, match=why):
        history().check(stored, stored)


def test_a_duplicate_is_seen() -> None:
    """Each attempt has a value of its own."""
    with pytest.raises(Violation, match="stored twice"):
        history().check(STORED, [b"a", b"u", b"a"])


def test_an_append_before_what_ended_before_it_began_is_seen() -> None:
    """Concurrent appends may have any order."""
    order = RealTimeOrder()
    early = order.begins()
    order.appended(early, Index(5))
    order.appended(early, Index(4))
    with pytest.raises(Violation, match="after 5 was acked"):
        order.appended(order.begins(), Index(5))


def test_a_stale_read_is_seen() -> None:
    """Neither an ack nor an earlier read may be forgotten."""
    order = RealTimeOrder()
    order.appended(order.begins(), Index(5))
    order.read(order.begins(), Index(8))
    with pytest.raises(Violation, match="served at 7, 8 was known"):
        order.read(order.begins(), Index(7))


def test_states_that_differ_and_indexes_out_of_order_are_seen() -> None:
    """The same index, the same state, each once, and only what is committed."""
    safety = StateMachineSafety()
    for node in (N1, N2, N3):
        safety.starts(node, Index(0))
    safety.applies(N1, Index(1), Index(1), b"state")
    with pytest.raises(Violation, match="another state at 1"):
        safety.applies(N2, Index(1), Index(1), b"other")
    with pytest.raises(Violation, match="applies 3 after 1"):
        safety.applies(N1, Index(3), Index(3), b"")
    with pytest.raises(Violation, match="only 0 is committed"):
        safety.applies(N3, Index(1), Index(0), b"state")


LEADER = ReplicaView(
    node=N1,
    leads=True,
    term=Term(2),
    leader=N1,
    last=Index(9),
    last_checksum=7,
    durable=Index(9),
    applied=Index(9),
    digest=b"d",
    faulty=0,
)
FOLLOWER = msgspec.structs.replace(LEADER, node=N2, leads=False)


@pytest.mark.parametrize(
    "change",
    [
        {"leads": True},
        {"leader": N3},
        {"term": Term(1)},
        {"last": Index(8)},
        {"last_checksum": 8},
        {"durable": Index(8)},
        {"applied": Index(8)},
        {"digest": b"e"},
        {"faulty": 1},
    ],
)
def test_whatever_is_missing_for_health_is_named(change: dict[str, object]) -> None:
    """One leader whom all follow, equal and durable logs, equal states, no damage."""
    assert why_not_converged([LEADER, FOLLOWER]) is None
    assert why_not_converged([FOLLOWER]) is not None
    assert why_not_converged([LEADER, msgspec.structs.replace(FOLLOWER, **change)]) is not None
