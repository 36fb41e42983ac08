"""Records and acknowledgements: all or nothing. On histories made by hand."""

import pytest

from chaos.check.settled_together import Ack, Deal, SettledTogether
from chaos.check.violation import Violation

SEVEN: Ack = ("work", 3, 7, 11)
EIGHT: Ack = ("spare", 3, 8, 12)
DEAL = Deal(frozenset({b"a", b"b"}), frozenset({SEVEN, EIGHT}))


@pytest.fixture
def seen() -> SettledTogether:
    """One transaction of two records, made of two messages of two groups, is about to be sent."""
    seen = SettledTogether()
    seen.begins(DEAL)
    return seen


def test_all_of_it_once(seen: SettledTogether) -> None:
    """And its maker is told so."""
    seen.stored([b"a", b"b"], [SEVEN, EIGHT], [])
    seen.told(DEAL, is_stored=True)


def test_nothing_of_it(seen: SettledTogether) -> None:
    """One of the messages is somebody else's; the other one may be held still."""
    seen.refused([SEVEN, EIGHT], [SEVEN])
    seen.refused([SEVEN, EIGHT], [])
    seen.told(DEAL, is_stored=False)


def test_other_records_are_stored_alone(seen: SettledTogether) -> None:
    """Only those of transactions are not."""
    seen.stored_alone(b"x")
    assert seen.is_part(b"a")
    assert not seen.is_part(b"x")
    with pytest.raises(Violation, match="not settled"):
        seen.stored_alone(b"b")


BAD: dict[str, tuple[list[bytes], list[Ack], list[Ack], str]] = {
    "a part": ([b"a"], [SEVEN, EIGHT], [], "together"),
    "something else beside it": ([b"a", b"x"], [SEVEN, EIGHT], [], "together"),
    "nothing is settled": ([b"a", b"b"], [], [], "settle"),
    "only one group's message is": ([b"a", b"b"], [SEVEN], [], "settle"),
    "one is settled twice": ([b"a", b"b"], [SEVEN, SEVEN, EIGHT], [], "settle"),
    "another handle": ([b"a", b"b"], [SEVEN, ("spare", 3, 8, 13)], [], "settle"),
    "an old lease": ([b"a", b"b"], [SEVEN, EIGHT], [EIGHT], "were lost"),
}


@pytest.mark.parametrize("case", BAD)
def test_anything_else_is_a_violation(seen: SettledTogether, case: str) -> None:
    """Each of these is one thing that a store might do wrong."""
    values, acks, lost, says = BAD[case]
    with pytest.raises(Violation, match=says):
        seen.stored(values, acks, lost)


def test_the_same_one_twice_is_a_violation(seen: SettledTogether) -> None:
    """Sent again, it was stored again."""
    seen.stored([b"a", b"b"], [SEVEN, EIGHT], [])
    with pytest.raises(Violation, match="twice"):
        seen.stored([b"a", b"b"], [SEVEN, EIGHT], [])


def test_who_has_everything_is_not_refused(seen: SettledTogether) -> None:
    """Not as one whose lease has ended."""
    with pytest.raises(Violation, match="all are held"):
        seen.refused([SEVEN, EIGHT], [EIGHT, SEVEN])


def test_what_its_maker_is_told_is_true(seen: SettledTogether) -> None:
    """Both ways."""
    with pytest.raises(Violation, match="is not stored"):
        seen.told(DEAL, is_stored=True)
    seen.stored([b"a", b"b"], [SEVEN, EIGHT], [])
    with pytest.raises(Violation, match="is stored"):
        seen.told(DEAL, is_stored=False)
