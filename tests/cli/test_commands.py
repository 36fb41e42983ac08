"""The ``raftlog`` command: what it prints where, and how it ends."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec import structs

from raftlog.base.errors import ConfigError, DamagedLog, RaftlogError, Unavailable
from raftlog.base.ids import NodeId
from raftlog.cli.app import main
from raftlog.cli.cluster import as_data, missing_text, show
from raftlog.cli.exits import Exit, exit_of
from raftlog.cli.health import summary, watch_health
from raftlog.server.cluster import LocalNodes
from raftlog.server.config import load_config
from raftlog.server.observation import ClusterView, NodeView
from raftlog.server.pidfile import ProcessId
from raftlog.storage.directory import form_cluster
from raftlog.wire.frame import PROTOCOL_VERSION

N1, N2 = NodeId("n1"), NodeId("n2")
HEALTHY = ClusterView(
    (
        NodeView(N1, 0, "a:1", "leader", term=3, leader=N1, commit=9, applied=9),
        NodeView(N2, 0, "b:1", "follower", term=3, leader=N1, commit=9, applied=7),
    )
)
LEADERLESS = ClusterView((NodeView(N1, 0, "a:1", "follower"), NodeView(N2, 0, "", problem="-")))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A formatted data directory."""
    path = tmp_path / "n1"
    form_cluster({N1: path})
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A good file, of nodes that do not run (port 1 is nobody's)."""
    path = tmp_path / "cluster.yml"
    path.write_text(
        "cluster: c\ndata: d\nnodes:\n"
        "  n1: {listen: {peer: '127.0.0.1:1', client: '127.0.0.1:2'}}\n"
    )
    return path


def test_version_is_data(capsys: pytest.CaptureFixture[str]) -> None:
    """A script asks before it relies on something."""
    assert main(["version", "-o", "json"]) == Exit.DONE

    assert json.loads(capsys.readouterr().out) == {
        "raftlog": "0.1.0",
        "protocol": PROTOCOL_VERSION,
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["node", "run"],
        ["log", "verify"],
        ["health", "--timeout", "3"],
        ["version", "-x"],
        ["bench", "send", "--duration", "-1"],
        ["bench", "send", "--in-flight", "0"],
        ["bench", "send", "--size", "99999999"],
        ["bench", "send", "--connect", "nonsense"],
        ["bench", "consume", "--connect", "127.0.0.1:7201,nonsense"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing of it is on stdout, where a script reads."""
    assert main(arguments) == Exit.USAGE

    assert capsys.readouterr().out == ""


def test_a_bad_configuration_ends_with_2_and_its_place(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, no traceback."""
    config.write_text("cluster: [")

    assert main(["config", "check", str(config)]) == Exit.USAGE

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"raftlog: {config}:1:")
    assert captured.err.count("\n") == 1


def test_a_good_configuration_is_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a node would use, defaults and overrides included."""
    assert main(["config", "check", str(config), "-o", "json"]) == Exit.DONE

    shown = json.loads(capsys.readouterr().out)
    assert shown["durability"] == "fsync"
    assert shown["nodes"]["n1"]["data"] == str(config.parent / "d" / "n1")


def test_a_check_without_a_name_is_of_the_usual_file(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As every other command does without --config."""
    monkeypatch.chdir(config.parent)

    assert main(["config", "check"]) == Exit.DONE
    assert "cluster.yml is good" in capsys.readouterr().err


def test_an_unknown_node_is_refused_before_anything_starts(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--node`` is typed by hand."""
    assert main(["node", "run", "-c", str(config), "-n", "n7"]) == Exit.USAGE
    assert "it names n1" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "format", "drain"])
def test_a_node_that_is_not_named_can_be_chosen_from_the_message(
    command: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that is copied from a message may lack it."""
    assert main(["node", command, "-c", str(config)]) == Exit.USAGE
    assert "--node n1" in capsys.readouterr().err


def test_a_node_without_a_formatted_directory_does_not_start(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty directory may be a wiped one (ruling 5): no node formats itself."""
    assert main(["node", "run", "-c", str(config), "-n", "n1"]) == Exit.FAILED

    assert "was never formatted" in capsys.readouterr().err
    assert not (config.parent / "d" / "n1" / "node.meta").exists()


def test_status_of_a_cluster_that_is_down_ends_with_3(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the JSON complete on stdout all the same."""
    assert main(["cluster", "status", "-c", str(config), "-o", "json"]) == Exit.UNHEALTHY

    captured = capsys.readouterr()
    shown = json.loads(captured.out)
    assert not shown["healthy"]
    assert shown["nodes"][0]["problem"]
    assert "not healthy: shard 0 has no leader" in captured.err


def test_health_of_a_cluster_that_is_down_ends_with_3(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once without ``--watch``."""
    assert main(["health", "-c", str(config)]) == Exit.UNHEALTHY
    assert capsys.readouterr().out.startswith("not healthy: shard 0 has no leader")


def test_down_of_a_cluster_that_is_down_is_no_error(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``make stop`` may be said twice."""
    assert main(["cluster", "down", "-c", str(config)]) == Exit.DONE
    assert "no node runs" in capsys.readouterr().err
    assert main(["cluster", "down", "-c", str(config), "-o", "json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out) == {"stopped": [], "elsewhere": []}


def test_status_data_has_lag_and_pid() -> None:
    """What no node can say of itself: how far behind the leader, and which process here."""
    data = as_data(HEALTHY, {N2: ProcessId(77, 1, "boot")})

    nodes = data["nodes"]
    assert isinstance(nodes, list)
    assert [(node["lag"], node["pid"]) for node in nodes] == [(0, None), (2, 77)]


def looks(*views: ClusterView) -> tuple[Callable[[], Awaitable[ClusterView]], list[str]]:
    """Return a look that sees ``views`` one after the other, the last one for ever."""
    seen = list(views)

    async def look() -> ClusterView:
        await asyncio.sleep(0)
        return seen.pop(0) if len(seen) > 1 else seen[0]

    return look, []


def watch(
    *views: ClusterView, timeout_s: float, until_healthy: bool
) -> tuple[ClusterView | None, list[str]]:
    """Watch ``views``; return the last one and what was told."""
    look, told = looks(*views)
    view = asyncio.run(
        watch_health(
            look,
            lambda seen: told.append(summary(seen)),
            timeout_s=timeout_s,
            until_healthy=until_healthy,
            pause_s=0.0,
        )
    )
    return view, told


def test_a_watch_tells_each_change_once_and_ends_when_healthy() -> None:
    """A line for every look would hide the one that matters."""
    view, told = watch(LEADERLESS, LEADERLESS, HEALTHY, timeout_s=30, until_healthy=True)

    assert view is HEALTHY
    assert told == [
        "not healthy: shard 0 has no leader; 1 of 2 nodes answer (-)",
        "healthy: led by n1",
    ]


def test_a_watch_gives_up_after_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    """And has the last thing that it saw, for the exit code."""
    view, told = watch(LEADERLESS, timeout_s=0.5, until_healthy=True)

    assert view is LEADERLESS
    assert len(told) == 1
    assert "not healthy after 0.5 s" in capsys.readouterr().err


def test_a_healthy_cluster_with_a_node_missing_says_so() -> None:
    """Healthy is not whole."""
    n3 = NodeView(NodeId("n3"), 0, "", problem="refused")

    assert summary(ClusterView((*HEALTHY.nodes, n3))) == "healthy: led by n1; no answer from n3"


def test_who_is_down_already_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """Of three voters one may fail; one has."""
    n3, voters = NodeId("n3"), (N1, N2, NodeId("n3"))
    leader, follower = (structs.replace(each, voters=voters) for each in HEALTHY.nodes)
    view = ClusterView((leader, follower, NodeView(n3, 0, "", problem="refused")))
    show(view, {})

    words = "3 voters (n1, n2, n3), of which n3 gives no answer, so no other may fail"
    assert words in capsys.readouterr().out
    assert summary(view) == f"healthy: led by n1; no answer from n3; {words}"
    show(ClusterView((leader, follower, structs.replace(follower, node=n3))), {})
    assert "3 voters (n1, n2, n3), 1 of them may fail" in capsys.readouterr().out


def test_who_holds_the_feature_level_back_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With both levels; health says it, too, but not of one that rises in a moment."""
    leader, follower = (
        structs.replace(each, feature_level=3, feature_level_max=4) for each in HEALTHY.nodes
    )
    old = structs.replace(follower, feature_level_max=3)
    n3 = NodeView(NodeId("n3"), 0, "", problem="refused")
    line = (
        "shard 0 is at feature level 3, and n1 can apply 4; held back by n2 (can apply 3), n3 "
        "(gives no answer)"
    )
    show(ClusterView((leader, old, n3)), {})
    assert f"{line}\n" in capsys.readouterr().out
    assert summary(ClusterView((leader, old, n3))).endswith(f"; {line}")

    show(ClusterView((leader, follower)), {})
    text = "shard 0 is at feature level 3, and n1 can apply 4; it rises once every member has said"
    assert text in capsys.readouterr().out
    assert summary(ClusterView((leader, follower))) == "healthy: led by n1"
    show(HEALTHY, {})
    assert "feature level" not in capsys.readouterr().out


def test_damage_is_shown_of_every_node(capsys: pytest.CaptureFixture[str]) -> None:
    """A follower that repairs itself looked like any other."""
    leader, follower = HEALTHY.nodes
    show(ClusterView((leader, structs.replace(follower, damaged=2, repaired=1))), {})

    shown = capsys.readouterr().out
    assert "n2, shard 0: entries that are damaged: 2; entries and files repaired" in shown
    assert "n1, shard 0:" not in shown


def test_who_was_removed_or_learns_is_told_and_that_nobody_may_fail(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Three "followers" of which one votes: a cluster that the next failure stops."""
    n3 = NodeId("n3")
    view = ClusterView(
        (
            NodeView(N1, 0, "", "leader", term=3, leader=N1, voters=(N1,), learners=(n3,)),
            NodeView(N2, 0, "", "follower", term=3, leader=N1, voters=(N1, N2)),
            NodeView(n3, 0, "", "follower", term=3, leader=N1, voters=(N1, N2)),
        )
    )
    show(view, {})

    shown = capsys.readouterr().out
    assert [word in shown for word in ("removed", "learner", "follower")] == [True, True, False]
    assert "1 voter (n1), so none of them may fail" in shown
    assert summary(view) == "healthy: led by n1; 1 voter (n1), so none of them may fail"
    nodes = as_data(view, {})["nodes"]
    assert isinstance(nodes, list)
    assert [node["standing"] for node in nodes] == ["leader", "removed", "learner"]


def test_a_removed_node_that_does_not_run_is_nothing_to_start(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The advice for one that is missed would bring it back in vain."""
    gone = NodeView(N2, 0, "", problem="no node answers there", silent=True)
    view = ClusterView(
        (NodeView(N1, 0, "", "leader", term=3, leader=N1, voters=(N1,)), gone, gone)
    )
    show(view, {})

    assert "removed, no answer" in capsys.readouterr().out
    assert missing_text(view, LocalNodes(load_config(config))) == [
        "n2: was removed from the cluster, and does not run"
    ]


def test_verify_of_a_good_directory_ends_with_0(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One JSON object."""
    assert main(["log", "verify", str(directory), "-o", "json"]) == Exit.DONE

    shown = json.loads(capsys.readouterr().out)
    assert (shown["damaged"], shown["node"], shown["shards"][0]["entries"]) == (False, "n1", 1)


def test_verify_of_a_good_directory_says_so(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of figures is no verdict."""
    assert main(["log", "verify", str(directory)]) == Exit.DONE
    assert f"{directory} is good" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["table", "json"])
def test_verify_of_a_damaged_directory_ends_with_4(
    directory: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script must not read the table to know."""
    (directory / "shards/0/hard.state").write_bytes(b"")

    assert main(["log", "verify", str(directory), "-o", output]) == Exit.DAMAGED

    captured = capsys.readouterr()
    assert "hard.state" in captured.out
    assert "damaged" in captured.err


def test_dump_shows_an_entry(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Entry 1 of every log is its first configuration."""
    assert main(["log", "dump", str(directory), "--at", "1", "-o", "json"]) == Exit.DONE

    shown = json.loads(capsys.readouterr().out)
    assert (shown["index"], shown["term"], shown["kind"]) == (1, 1, "configuration")
    assert shown["voters"].startswith("n1/")


def test_dump_of_nothing_says_where_to_look(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty answer looks like an empty log."""
    assert main(["log", "dump", str(directory), "--from", "9"]) == Exit.FAILED
    assert "raftlog log verify" in capsys.readouterr().err


def test_a_directory_that_was_never_formatted_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not with 4: nothing is damaged."""
    assert main(["log", "verify", str(tmp_path)]) == Exit.FAILED
    assert "is no node's data directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), Exit.USAGE),
        (DamagedLog("x"), Exit.DAMAGED),
        (Unavailable("x"), Exit.FAILED),
    ],
)
def test_errors_end_a_command_with_their_code(error: RaftlogError, code: Exit) -> None:
    """The table of ``exits.py``."""
    assert exit_of(error) is code


def test_completion_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell asks in its own way what could come next."""
    monkeypatch.setenv("_RAFTLOG_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "raftlog topic ")
    monkeypatch.setenv("COMP_CWORD", "2")

    assert main([]) == Exit.DONE

    assert set(capsys.readouterr().out.split()) >= {"create", "alter", "list", "describe"}
