"""What ``raftlog member`` says of the members."""

import pytest
from msgspec import structs

from raftlog.base.errors import BadChange, Unavailable
from raftlog.cli.member import _as_they_are_now, _directory_at, _refuse_removed, _show, left_text
from raftlog.cli.output import Output
from raftlog.client.shard_members import MemberInfo
from raftlog.testing.processes import free_ports

LEADER = MemberInfo(
    *("n1", "d1", "voter", "", ""),
    match=35,
    lag=0,
    caught_up=True,
    leads=True,
    held=False,
    alive=True,
    shard=0,
)
VOTER = structs.replace(LEADER, node="n2", leads=False)
LEARNER = structs.replace(VOTER, node="n3", place="learner")


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([LEADER], "shard 0: 1 voter (n1), so none of them may fail"),
        ([LEADER, VOTER, LEARNER], "shard 0: 2 voters (n1, n2), so none of them may fail"),
        (
            [LEADER, VOTER, structs.replace(VOTER, node="n4")],
            "shard 0: 3 voters (n1, n2, n4), 1 of them may fail",
        ),
    ],
)
def test_what_is_left_is_told(members: list[MemberInfo], text: str) -> None:
    """A removal can leave a cluster that the next failure stops."""
    assert left_text(members) == [text]


def test_of_a_dead_node_nothing_is_said_that_is_not_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It was "match 0, lag 35, caught up yes, alive no"."""
    unknown = structs.replace(VOTER, match=0, lag=35, alive=False)
    behind = structs.replace(VOTER, node="n3", match=5, lag=30, alive=False)
    _show([LEADER, unknown, behind], Output.TABLE)

    rows = {
        cells[0]: cells[3:7]
        for line in capsys.readouterr().out.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("│").split("│")]) > 1
    }
    assert rows["n1"] == ["35", "0", "yes", "yes"]
    assert rows["n2"] == ["-", "-", "-", "no"]
    assert rows["n3"] == ["5", "30", "no", "no"]


class Cluster:
    """Stands for a client: lists these members, or has no leader."""

    def __init__(self, *now: MemberInfo) -> None:
        self.now = now
        self.members = self

    async def list(self) -> tuple[MemberInfo, ...]:
        """Return the members."""
        if not self.now:
            raise Unavailable("nobody leads yet")
        return self.now


@pytest.mark.asyncio
async def test_the_last_look_of_a_leader_that_leaves_is_not_shown() -> None:
    """It leads no more, and to it all the others are dead."""
    last_look = [structs.replace(VOTER, alive=False)]

    assert await _as_they_are_now(Cluster(LEADER), last_look) == (LEADER,)  # type: ignore[arg-type]
    assert await _as_they_are_now(Cluster(), last_look) == last_look  # type: ignore[arg-type]
    assert await _as_they_are_now(Cluster(), [LEADER]) == [LEADER]  # type: ignore[arg-type]


def test_a_directory_that_was_removed_is_not_added_again() -> None:
    """The how-to says that it is of no use; a member's may be added again: its address moved."""
    _refuse_removed("n2", "d1", [LEADER])
    with pytest.raises(BadChange, match="move its directory away"):
        _refuse_removed("n2", "d2", [LEADER])


@pytest.mark.asyncio
async def test_a_node_that_does_not_run_yet_is_to_be_started_first() -> None:
    """To see that a majority runs was the advice, and it did run."""
    (port,) = free_ports(1)
    with pytest.raises(Unavailable, match=r"n4 has to run before .* node run --node n4 --join$"):
        await _directory_at(f"127.0.0.1:{port}", "n4")
