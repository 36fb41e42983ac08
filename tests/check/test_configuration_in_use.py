"""Which configuration a log holds, whoever's log it is."""

import pytest

from chaos.check.configuration_in_use import Configurations, Halves, check_in_use
from chaos.check.log_model import LogModel, Mark
from chaos.check.violation import Violation
from raftlog.base.entry import Entry, EntryKind, seal
from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId, Term
from raftlog.base.membership import Membership, decode_membership

FIRST, SECOND, LATE = "abc", "abcd", "bcd"


def configuration(index: int, term: int, nodes: str, outgoing: str = "") -> Entry:
    def replicas(names: str) -> tuple[ReplicaId, ...]:
        return tuple(ReplicaId(NodeId(name), DirectoryId("d")) for name in names)

    members = Membership(voters=replicas(nodes), outgoing=replicas(outgoing))
    return entry_of(index, term, EntryKind.CONFIGURATION, members.encode())


def entry_of(index: int, term: int, kind: EntryKind, body: bytes) -> Entry:
    return seal(kind, Term(term), Index(index), 0, [body])


def mark(entry: Entry) -> Mark:
    return Mark(entry.term, entry.checksum)


ENTRIES = (
    configuration(1, 1, FIRST),
    entry_of(2, 1, EntryKind.COMMANDS, b"commands"),
    configuration(3, 1, SECOND, FIRST),
    configuration(3, 2, LATE),
)


@pytest.fixture
def known() -> Configurations:
    known = Configurations()
    for entry in ENTRIES:
        known.written(entry)
    return known


@pytest.mark.parametrize(
    ("entries", "base", "expected"),
    [
        ((), 0, None),
        ((0, 1), 0, [FIRST]),
        ((0, 1, 2), 0, [SECOND, FIRST]),
        ((0, 1, 3), 0, [LATE]),
        ((0, 1, 2), 3, None),
        ((0, 1, 2), 2, [SECOND, FIRST]),
    ],
)
def test_the_newest_in_a_log_counts(
    known: Configurations, entries: tuple[int, ...], base: int, expected: list[str] | None
) -> None:
    """Also one that another leader has written at the same index; none that came otherwise."""
    found = known.newest(LogModel([mark(ENTRIES[at]) for at in entries]), Index(base))
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert [list(half) for half in found] == [list(half) for half in expected]


def test_another_one_in_use_is_seen() -> None:
    newest: Halves = [[NodeId("a"), NodeId("b")]]
    check_in_use(NodeId("a"), newest, newest)
    check_in_use(NodeId("a"), [[NodeId("c")]], None)
    with pytest.raises(Violation, match="a goes by"):
        check_in_use(NodeId("a"), [[NodeId("a")]], newest)


@pytest.mark.parametrize(
    ("told", "floor", "is_so"),
    [
        (0, 0, True),
        (0, 2, True),
        (0, 3, False),
        (3, 1, True),
        (3, 9, True),
        (2, 0, False),
    ],
)
def test_who_is_told_of_members_is_told_of_committed_ones(
    known: Configurations,
    told: int,
    floor: int,
    is_so: bool,  # noqa: FBT001
) -> None:
    """Not of such as another leader's replaced, nor of such as were replaced when it was asked."""
    committed = LogModel([mark(ENTRIES[at]) for at in (0, 1, 3)])
    members = decode_membership(ENTRIES[told].body)
    if is_so:
        known.told(members, committed, Index(floor))
    else:
        with pytest.raises(Violation, match=f"none such since entry {floor} is committed"):
            known.told(members, committed, Index(floor))
