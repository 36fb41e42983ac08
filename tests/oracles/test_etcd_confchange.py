"""Our algebra of configurations gives the answers that etcd's published test data expects."""

from typing import Final

from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId
from raftlog.base.membership import NOBODY, Membership
from raftlog.raft.changes import (
    Fault,
    ImpossibleStep,
    Place,
    Step,
    enter_joint,
    leave_joint,
    simple,
)
from raftlog.raft.progress import Progress
from tests.oracles.datadriven import Case, read_cases
from tests.oracles.folder import oracle_files

FOLDER: Final = "etcd-raft/confchange"
FAULTS: Final = {
    "config is already joint": Fault.JOINT_ALREADY,
    "can't leave a non-joint config": Fault.NOT_JOINT,
    "can't make a zero-voter config joint": Fault.NO_VOTERS,
    "can't apply simple config change in joint config": Fault.MUST_LEAVE,
    "more than one voter changed without entering joint config": Fault.TWO_VOTERS,
    "removed all voters": Fault.LAST_VOTER,
}
PLACES: Final = {"v": Place.VOTER, "l": Place.LEARNER, "r": Place.NOWHERE}
UPDATE: Final = "u"
"""Passes a blob to etcd's application and changes nothing of the configuration."""
NOBODYS_ID: Final = "0"


def replica(number: str) -> ReplicaId:
    """Return the replica that the data calls ``number``."""
    return ReplicaId(NodeId(number), DirectoryId(number))


def steps(case: Case) -> list[Step]:
    """Return the steps of a case's input."""
    words = case.input.split()
    assert all(word[0] in {*PLACES, UPDATE} for word in words), f"{case.where}: {words}"
    return [
        Step(replica(word[1:]), PLACES[word[0]])
        for word in words
        if word[0] != UPDATE and word[1:] != NOBODYS_ID
    ]


def ids(replicas: tuple[ReplicaId, ...]) -> str:
    """Write replicas as the data does."""
    return f"({' '.join(str(number) for number in sorted(int(each.node) for each in replicas))})"


class Driver:
    """One file: a configuration, and the progress of each of its members."""

    def __init__(self) -> None:
        self.membership = NOBODY
        self.auto_leave = False
        self.last_index = 0
        self.progress: dict[ReplicaId, Progress] = {}

    def answer(self, case: Case) -> str | Fault:
        """Carry out one case; every command takes one place of etcd's log."""
        try:
            return self._carried_out(case)
        except ImpossibleStep as error:
            return error.fault
        finally:
            self.last_index += 1

    def _carried_out(self, case: Case) -> str:
        before = self.membership
        match case.command:
            case "simple":
                self.membership = simple(before, steps(case))
            case "enter-joint":
                self.membership = enter_joint(before, steps(case))
                self.auto_leave = case.arguments.get("autoleave") == ("true",)
            case "leave-joint":
                self.membership = leave_joint(before)
                self.auto_leave = False
            case _:
                raise AssertionError(f"{case.where}: unknown command {case.command}")
        members = self.membership.replicas
        first = Index(max(self.last_index, 1))
        self.progress = {
            each: self.progress.get(each) or Progress(each, first, 1) for each in members
        }
        return self._shown(self.membership)

    def _shown(self, membership: Membership) -> str:
        line = f"voters={ids(membership.voters)}"
        if membership.outgoing:
            line += f"&&{ids(membership.outgoing)}"
        if membership.learners:
            line += f" learners={ids(membership.learners)}"
        if membership.learners_next:
            line += f" learners_next={ids(membership.learners_next)}"
        if self.auto_leave:
            line += " autoleave"
        rows = [line]
        for each in sorted(membership.replicas, key=lambda each: int(each.node)):
            progress = self.progress[each]
            row = f"{each.node}: State{progress.pace.value.capitalize()}"
            row += f" match={progress.match} next={progress.next}"
            rows.append(row + (" learner" if each in membership.learners else ""))
        return "\n".join(rows)


def expected(case: Case) -> str | Fault:
    """Return the answer that the data gives: a configuration, or the kind of a refusal."""
    text = case.expected.strip()
    if text.startswith("voters="):
        return text
    assert text in FAULTS, f"{case.where}: a refusal of an unknown kind: {text}"
    return FAULTS[text]


def test_every_published_case_gets_the_published_answer() -> None:
    """Configurations and progress exactly, refusals by their kind; no file is empty."""
    wrong = {}
    for path in oracle_files(FOLDER):
        cases = read_cases(path)
        assert cases, f"{path} has no cases"
        driver = Driver()
        for case in cases:
            answer = driver.answer(case)
            if answer != expected(case):
                wrong[case.where] = (answer, expected(case))

    assert wrong == {}


def test_a_joint_change_ends_where_single_steps_end() -> None:
    """The property of etcd's quick test: the two ways to a configuration agree."""
    one, two, three, four = (replica(number) for number in "1234")
    start = simple(simple(simple(NOBODY, [Step(one, Place.VOTER)]), [Step(two, Place.VOTER)]), [])
    wanted = [Step(three, Place.VOTER), Step(one, Place.NOWHERE), Step(four, Place.LEARNER)]

    by_steps = start
    for step in wanted:
        by_steps = simple(by_steps, [step])
    jointly = leave_joint(enter_joint(start, wanted))

    assert (by_steps.voters, by_steps.learners) == (jointly.voters, jointly.learners)
