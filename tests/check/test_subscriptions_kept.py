"""What a group reads: on histories made by hand."""

import pytest

from chaos.check.subscriptions_kept import GO_LEVEL, Reads, SubscriptionsKept, Told
from chaos.check.violation import Violation

ORDERS, EVENTS = Reads(("orders",)), Reads(("events",), ("third",), "n < 3")
ANN, BOB = ("ann", 0), ("bob", 0)


def told(reads: Reads, version: int, *, by_hand: bool = False) -> Told:
    """What a group by range tells."""
    return Told(reads.beside(None), version, by_hand)


@pytest.fixture
def kept() -> SubscriptionsKept:
    """Ann has made the group; somebody is about to say things by hand."""
    kept = SubscriptionsKept()
    kept.reaches(GO_LEVEL)
    kept.joined("g", ANN, ORDERS, told(ORDERS, 1), 1)
    for reads in (ORDERS, EVENTS):
        for version in (0, 1, 2):
            kept.says("g", reads, version)
    return kept


def test_who_comes_first_says_what_is_read(kept: SubscriptionsKept) -> None:
    """Others want the same, or nothing of their own about how it is shared out."""
    kept.joined("g", BOB, ORDERS, told(ORDERS, 1), 2)
    kept.turned_away("g", ("cid", 0), EVENTS)
    kept.turned_away("g", ("cid", 0), ORDERS._replace(assignor="sticky"))
    assert kept.now("g") == told(ORDERS, 1)
    assert kept.now("h") is None


def test_who_comes_to_a_group_without_members_says_it_anew(kept: SubscriptionsKept) -> None:
    """And who is its last member, in a later life."""
    kept.left("g", *ANN)
    kept.joined("g", ("bob", 4), EVENTS, told(EVENTS, 2), 3)
    kept.left("g", "bob", 3)  # which is not his life now
    kept.turned_away("g", ANN, ORDERS)
    kept.turned_away("g", ("bob", 4), ORDERS)
    kept.joined("g", ("bob", 5), ORDERS, told(ORDERS, 3), 4)


def test_what_was_said_by_hand_stays(kept: SubscriptionsKept) -> None:
    """Whoever comes; what is confirmed begins no version, and stays as well."""
    kept.said("g", ORDERS, 2, 1, 1)
    kept.left("g", *ANN)
    kept.turned_away("g", BOB, EVENTS)
    kept.said("g", EVENTS, 1, 2, 3)
    kept.joined("g", BOB, EVENTS, told(EVENTS, 2, by_hand=True), 4)
    kept.contradicted("g", ORDERS, 1)
    kept.said("g", ORDERS, 0, 3, 5)


def test_at_level_2_everything_stays_and_nobody_s_hand_is_noted() -> None:
    """From the next level on every version but the first counts as said by hand."""
    old = SubscriptionsKept()
    old.reaches(2)
    for group in ("g", "h"):
        old.joined(group, ANN, ORDERS, told(ORDERS, 1), 1)
        old.left(group, *ANN)
        old.turned_away(group, BOB, EVENTS)
    old.says("g", EVENTS, 0)
    old.said("g", EVENTS, 0, 2, 3)
    with pytest.raises(Violation, match="is told"):
        old.joined("g", BOB, EVENTS, told(EVENTS, 2, by_hand=True), 4)
    old.joined("g", BOB, EVENTS, told(EVENTS, 2), 4)
    old.left("g", *BOB)
    old.reaches(GO_LEVEL)
    old.reaches(2)  # stamped by a leader that had not applied the first entry of the new one
    old.turned_away("g", BOB, ORDERS)
    old.joined("g", BOB, EVENTS, told(EVENTS, 2, by_hand=True), 5)
    old.joined("h", BOB, EVENTS, told(EVENTS, 2), 3)


def test_a_group_that_is_made_again_begins_anew(kept: SubscriptionsKept) -> None:
    """With its first version."""
    kept.said("g", EVENTS, 0, 2, 2)
    kept.left("g", *ANN)
    kept.deleted("g")
    kept.joined("g", BOB, ORDERS, told(ORDERS, 1), 7)


def test_members_are_told_what_holds_in_their_generation(kept: SubscriptionsKept) -> None:
    """That it was confirmed by hand meanwhile need not be known."""
    kept.said("g", ORDERS, 0, 1, 1)
    kept.said("g", EVENTS, 0, 2, 4)
    kept.seen("g", 3, told(ORDERS, 1), ["orders"])
    kept.seen("g", 4, told(EVENTS, 2, by_hand=True), ["events"])
    kept.seen("g", 9, told(EVENTS, 2, by_hand=True), [])
    for generation, what, topics in (
        (4, told(ORDERS, 1), []),
        (3, told(EVENTS, 2), []),
        (4, told(EVENTS, 3), []),
        (4, told(Reads(("events",)), 2), []),
        (0, told(ORDERS, 1), []),
        (4, told(EVENTS, 2), ["orders"]),
    ):
        with pytest.raises(Violation):
            kept.seen("g", generation, what, topics)


def test_who_has_no_say_is_not_let_in(kept: SubscriptionsKept) -> None:
    """Beside others, in the same life, or against what was said by hand."""
    for who in (BOB, ANN):
        with pytest.raises(Violation, match="a conflict"):
            kept.joined("g", who, EVENTS, told(EVENTS, 2), 2)
    kept.said("g", ORDERS, 0, 1, 1)
    kept.left("g", *ANN)
    with pytest.raises(Violation, match="a conflict"):
        kept.joined("g", BOB, EVENTS, told(EVENTS, 2), 2)


def test_who_has_a_say_is_let_in(kept: SubscriptionsKept) -> None:
    """As is who wants what is read."""
    with pytest.raises(Violation, match="can't join"):
        kept.turned_away("g", BOB, ORDERS)
    kept.left("g", *ANN)
    with pytest.raises(Violation, match="can't join"):
        kept.turned_away("g", BOB, EVENTS)
    with pytest.raises(Violation, match="can't join"):
        kept.turned_away("h", BOB, EVENTS)


@pytest.mark.parametrize(
    "what",
    [
        told(EVENTS, 1),
        told(ORDERS, 2),
        told(ORDERS, 1, by_hand=True),
        Told(ORDERS.beside(Reads((), assignor="sticky")), 1, by_hand=False),
    ],
)
def test_who_joins_is_told_what_is_read(kept: SubscriptionsKept, what: Told) -> None:
    """Nothing else."""
    with pytest.raises(Violation, match="is told"):
        kept.joined("g", BOB, ORDERS, what, 2)


def test_a_hand_that_is_late_does_not_get_its_way(kept: SubscriptionsKept) -> None:
    """Nor one that nobody has seen, nor where there is no group."""
    for reads, replaces, version, says in (
        (EVENTS, 2, 2, "was replaced"),
        (EVENTS, 3, 2, "who says"),
        (EVENTS._replace(assignor="sticky"), 0, 2, "who says"),
        (EVENTS, 0, 1, "somebody is told"),
        (EVENTS, 0, 3, "somebody is told"),
    ):
        fresh = SubscriptionsKept()
        fresh.joined("g", ANN, ORDERS, told(ORDERS, 1), 1)
        for known in (0, 2):
            fresh.says("g", EVENTS, known)
        with pytest.raises(Violation, match=says):
            fresh.said("g", reads, replaces, version, 2)
    kept.says("h", EVENTS, 0)
    with pytest.raises(Violation, match="no group"):
        kept.said("h", EVENTS, 0, 1, 1)


def test_a_hand_in_time_gets_its_way(kept: SubscriptionsKept) -> None:
    """Also if it says what is read, whatever version it has seen."""
    for reads, replaces in ((EVENTS, 0), (EVENTS, 1), (ORDERS, 2)):
        with pytest.raises(Violation, match="is not to read"):
            kept.contradicted("g", reads, replaces)
