"""``raftlog leader``: a transfer waits until somebody else leads; who is preferred is kept."""

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from raftlog.base.ids import NodeId
from raftlog.cli.app import main
from raftlog.cli.cluster import role_of
from raftlog.cli.exits import Exit
from raftlog.server.observation import ClusterView, NodeView
from raftlog.sync import Client
from raftlog.testing.cluster import LocalCluster
from tests.cli.conftest import Shell


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes."""
    with LocalCluster(tmp_path_factory.mktemp("nodes")) as cluster:
        asyncio.run(cluster.ready())
        yield cluster


@pytest.fixture
def shell_of_three(
    three: LocalCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """A shell that is connected to them."""
    monkeypatch.setenv("RAFTLOG_CONNECT", ",".join(three.seeds))
    return Shell(capsys)


def leader(cluster: LocalCluster) -> str:
    """Return who leads."""
    return asyncio.run(cluster.leader())


def test_somebody_else_leads_afterwards(three: LocalCluster, shell_of_three: Shell) -> None:
    """Not only soon."""
    before = leader(three)

    told = shell_of_three.json("leader", "transfer")

    assert told["before"] == before != told["leader"]
    assert told["leader"] == leader(three)


def test_the_named_node_leads_afterwards(three: LocalCluster, shell_of_three: Shell) -> None:
    """And asking for it again changes nothing."""
    before = leader(three)
    to = next(node for node in three.nodes if node != before)

    assert shell_of_three.text("leader", "transfer", "--to", to) == (
        f"{to} leads now, {before} did before\n"
    )
    assert shell_of_three.text("leader", "transfer", "--to", to) == f"{to} leads already\n"


@pytest.mark.long
def test_a_node_that_is_down_does_not_lead(three: LocalCluster, shell_of_three: Shell) -> None:
    """It says so, when time is up."""
    before = leader(three)
    to = next(node for node in three.nodes if node != before)
    asyncio.run(three.kill(to))

    ran = shell_of_three("leader", "transfer", "--to", to, "--timeout", "1.5")

    assert ran.code == Exit.FAILED
    assert f"{before} still leads after 1.5 s; see that {to} runs" in ran.err
    asyncio.run(three.restart(to))


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--to", "n9"], Exit.FAILED, "there is no node 'n9'; --to is one of n1"),
        ([], Exit.FAILED, "n1 is the only node"),
        (["n1"], Exit.USAGE, "unexpected extra argument"),
        (["--connect", "nowhere"], Exit.USAGE, "'nowhere' is no address"),
    ],
)
def test_mistakes_are_told_what_to_do(
    shell: Shell, arguments: list[str], code: Exit, complaint: str
) -> None:
    """On a node that is alone."""
    ran = shell("leader", "transfer", *arguments)

    assert (ran.code, ran.out) == (code, ""), ran.err
    assert complaint in " ".join(ran.err.replace("│", " ").split())


def test_a_preferred_leader_is_kept_shown_and_forgotten(
    three: LocalCluster, shell_of_three: Shell
) -> None:
    """Who leads already is preferred: nothing moves, and a transfer says that it won't last."""
    before = leader(three)
    others = [node for node in three.nodes if node != before]

    told = shell_of_three.json("leader", "prefer", "--node", before, "-n", others[0])

    assert told == {"shards": [{"shard": 0, "preferred": [before, others[0]], "leader": before}]}
    assert shell_of_three.json("leader", "prefer") == told
    assert f"{before}, {others[0]}" in shell_of_three.text("leader", "prefer")
    places = {
        row["node"]: row["preference"] for row in shell_of_three.json("member", "list")["members"]
    }
    assert places == {before: 1, others[0]: 2, others[1]: 0}
    assert "preferred (2)" in shell_of_three.text("member", "list")
    ran = shell_of_three("leader", "transfer", "--to", others[0])
    assert (ran.code, f"{before} is preferred and leads again" in ran.err) == (Exit.DONE, True)

    told = shell_of_three.json("leader", "prefer", "--clear")
    assert told["shards"][0]["preferred"] == []
    assert "nobody" in shell_of_three.text("leader", "prefer")


def test_a_program_says_it_without_a_loop_of_its_own(three: LocalCluster) -> None:
    """In a thread; the rows that come back show it."""
    with Client(three.seeds) as client:
        rows = client.members.prefer(leader(three), shard=0)
        assert {each.preference for each in rows if each.leads} == {1}
        assert {each.preference for each in client.members.prefer()} == {0}
        assert client.status().preferred == ()


def test_the_status_shows_what_is_wished_as_the_leader_knows_it() -> None:
    """A follower that was cut off may know an older wish."""
    nodes = [NodeId(f"n{n}") for n in (1, 2, 3)]
    leading = NodeView(nodes[0], 0, "", role="leader", term=2, preferred=("n2", "n3"))
    second = NodeView(nodes[1], 0, "", role="follower", term=2, drained=True)
    third = NodeView(nodes[2], 0, "", role="follower", term=1, preferred=("n1",))
    view = ClusterView((leading, second, third))

    assert [role_of(view, each) for each in view.nodes] == [
        "leader",
        "follower, drained, preferred",
        "follower, preferred (2)",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--node", "n9"], Exit.FAILED, "n9 is no member of the shard; its members are n1"),
        (["-n", "n1", "-n", "n1"], Exit.FAILED, "a node is named twice in n1, n1"),
        (["--node", "n1", "--clear"], Exit.USAGE, "--node says who is preferred"),
        (["--node", "n1", "--shard", "7"], Exit.FAILED, "there is no shard 7; the last one is 0"),
        (["--shard", "7"], Exit.FAILED, "there is no shard 7"),
        (["n1"], Exit.USAGE, "unexpected extra argument"),
    ],
)
def test_mistakes_about_preferred_leaders_are_told(
    shell: Shell, arguments: list[str], code: Exit, complaint: str
) -> None:
    """A stranger, one twice, both at once, no such shard, a forgotten option."""
    ran = shell("leader", "prefer", *arguments)

    assert (ran.code, ran.out) == (code, ""), ran.err
    assert complaint in " ".join(ran.err.replace("│", " ").split())


def test_a_command_without_its_part_shows_what_there_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``raftlog leader`` alone is a question."""
    assert main(["leader"]) == Exit.USAGE
    assert "transfer" in cast("str", capsys.readouterr().out)
