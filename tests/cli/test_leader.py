"""``raftlog leader transfer``: it waits until somebody else leads, and says who."""

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from raftlog.cli.app import main
from raftlog.cli.exits import Exit
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


def test_a_command_without_its_part_shows_what_there_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``raftlog leader`` alone is a question."""
    assert main(["leader"]) == Exit.USAGE
    assert "transfer" in cast("str", capsys.readouterr().out)
