"""Our quorums give the answers that etcd's published test data expects."""

from pathlib import Path
from typing import Final

import pytest

from raftlog.base.ids import Index, NodeId
from raftlog.raft.quorum import EVERYTHING, Majority, Quorum, Verdict
from tests.oracles.datadriven import Case, read_cases
from tests.oracles.folder import oracle_files

FOLDER: Final = "etcd-raft/quorum"
UNKNOWN: Final = "_"
VERDICTS: Final = {
    Verdict.PENDING: "VotePending",
    Verdict.WON: "VoteWon",
    Verdict.LOST: "VoteLost",
}
COMMANDS: Final = {"committed", "vote"}


def halves(case: Case) -> tuple[list[NodeId], list[NodeId]]:
    """Return the voters of both halves; ``cfgj=zero`` names an empty one."""
    outgoing = [] if case.values("cfgj") == ("zero",) else case.values("cfgj")
    return [NodeId(name) for name in case.values("cfg")], [NodeId(name) for name in outgoing]


def by_voter(case: Case, key: str) -> dict[NodeId, str]:
    """Return the values of ``key`` by voter: one for each node, in the order of naming."""
    current, outgoing = halves(case)
    voters = list(dict.fromkeys(current + outgoing))
    values = case.values(key)
    # One file writes "cfg=(123) votes=(y)": a single voter with a long name.
    assert len(values) == len(voters), f"{case.where}: {len(values)} values, {len(voters)} voters"
    return {voter: value for voter, value in zip(voters, values, strict=True) if value != UNKNOWN}


def quorum(case: Case) -> Quorum:
    """Return the quorum that a case is about."""
    current, outgoing = halves(case)
    return Quorum(Majority(current), Majority(outgoing))


def committed(case: Case) -> str:
    """Answer ``committed`` as the data writes it: the last line, without its picture."""
    stored = {node: Index(int(index)) for node, index in by_voter(case, "idx").items()}
    index = quorum(case).committed(stored)
    return "∞" if index == EVERYTHING else str(index)


def vote(case: Case) -> str:
    """Answer ``vote`` as the data writes it."""
    votes = by_voter(case, "votes")
    return VERDICTS[
        quorum(case).verdict(
            {node for node, answer in votes.items() if answer == "y"},
            {node for node, answer in votes.items() if answer != "y"},
        )
    ]


def expected(case: Case) -> str:
    """Return the answer in a case's output, which may have a picture above it."""
    last = case.expected.splitlines()[-1]
    return last.rpartition(">")[2] if last.startswith("<empty") else last


def answer(case: Case) -> str:
    """Compute the answer of one case with our code."""
    assert case.command in COMMANDS, f"{case.where}: unknown command {case.command}"
    return committed(case) if case.command == "committed" else vote(case)


def files() -> list[Path]:
    """Return the data files."""
    return oracle_files(FOLDER)


def test_every_published_case_gets_the_published_answer() -> None:
    """The commit index and the result of the vote, exactly; no file may turn out empty."""
    cases = {path.name: read_cases(path) for path in files()}
    wrong = {
        case.where: (answer(case), expected(case))
        for found in cases.values()
        for case in found
        if answer(case) != expected(case)
    }

    assert wrong == {}
    assert cases
    assert all(cases.values()), f"a file without cases: { {n: len(c) for n, c in cases.items()} }"


def test_a_joint_quorum_of_equal_halves_decides_like_one_majority() -> None:
    """The metamorphic reading of the same data: joining a configuration with itself is nothing."""
    for path in files():
        for case in read_cases(path):
            current, outgoing = halves(case)
            if outgoing or case.command != "committed":
                continue
            stored = {node: Index(int(index)) for node, index in by_voter(case, "idx").items()}
            doubled = Quorum(Majority(current), Majority(current))

            assert doubled.committed(stored) == quorum(case).committed(stored), case.where


@pytest.mark.parametrize("half", [0, 1])
def test_the_empty_half_holds_nothing_back(half: int) -> None:
    """A configuration that is not joint is a joint one with an empty half."""
    sides = [Majority([]), Majority([NodeId("1")])]
    both = Quorum(sides[half], sides[1 - half])

    assert both.committed({NodeId("1"): Index(7)}) == Index(7)
    assert both.verdict(set(), set()) is Verdict.PENDING
