"""The supervisor of local nodes, with idle processes in the place of nodes."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from raftlog.base.errors import DirectoryLocked, Unavailable
from raftlog.base.ids import ClusterId, NodeId
from raftlog.server.cluster import LocalNodes, last_line, refuse_addresses_in_use
from raftlog.server.config import Config, NodeConfig, load_config
from raftlog.server.observation import ClusterView, NodeView
from raftlog.storage.directory import DataDirectory, form_cluster
from raftlog.storage.files import OsFiles
from raftlog.testing.processes import free_ports

IDLE = "import sys; sys.stdin.read()"
STUBBORN = (
    "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: None);"
    "print('deaf', flush=True);"
    "[sys.stdin.read() for _ in range(9)]"
)


class Processes:
    """Stands for nodes: every start is noted, every process is ended with the test."""

    def __init__(self) -> None:
        self.code = IDLE
        self.started: list[NodeId] = []
        self.children: list[subprocess.Popen[bytes]] = []

    def spawn(self, node: NodeConfig, log: Path) -> int:
        """Start a process that waits."""
        self.started.append(node.node)
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-c", self.code], stdin=subprocess.PIPE, stdout=output
            )
        self.children.append(child)
        return child.pid

    def answering(self) -> ClusterView:
        """Return what the two nodes say that run; who does not run says nothing."""
        alive = {
            node
            for node, child in zip(self.started, self.children, strict=True)
            if child.poll() is None
        }
        views = healthy().nodes
        return ClusterView(
            tuple(
                view if view.node in alive else NodeView(view.node, 0, "", problem="refused")
                for view in views
            )
        )

    def end(self) -> None:
        """Kill whatever still runs."""
        for child in self.children:
            child.kill()
            child.communicate()


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Processes that do not outlive the test."""
    found = Processes()
    yield found
    found.end()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Two nodes on addresses that nobody has."""
    ports = free_ports(4)
    path = tmp_path / "cluster.yml"
    path.write_text(
        "cluster: c\ndata: data\nnodes:\n"
        f"  n1: {{listen: {{peer: '127.0.0.1:{ports[0]}', client: '127.0.0.1:{ports[1]}'}}}}\n"
        f"  n2: {{listen: {{peer: '127.0.0.1:{ports[2]}', client: '127.0.0.1:{ports[3]}'}}}}\n"
    )
    return load_config(path)


def healthy() -> ClusterView:
    """Return what two nodes say when all is well."""
    n1, n2 = NodeId("n1"), NodeId("n2")
    first = NodeView(n1, 0, "", "leader", term=1, leader=n1)
    return ClusterView((first, NodeView(n2, 0, "", "follower", term=1, leader=n1)))


def answers(view: Callable[[], ClusterView]) -> Callable[[], "asyncio.Future[ClusterView]"]:
    """Return a look at the cluster that sees ``view()``."""

    def look() -> "asyncio.Future[ClusterView]":
        future: asyncio.Future[ClusterView] = asyncio.get_running_loop().create_future()
        future.set_result(view())
        return future

    return look


def test_the_cluster_that_is_looked_at_is_the_one_of_the_directories(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration knows names only; before the formation nobody knows more."""
    asked: list[ClusterId | None] = []

    async def see(*_: object, cluster: ClusterId | None) -> ClusterView:
        asked.append(cluster)
        return healthy()

    monkeypatch.setattr("raftlog.server.cluster.observe", see)
    asyncio.run(LocalNodes(config).observe())
    cluster = form_cluster(config.directories)
    (config.directories[NodeId("n1")] / "node.meta").write_bytes(b"damaged")
    asyncio.run(LocalNodes(config).observe())

    assert asked == [None, cluster]


def test_up_forms_starts_and_waits_and_down_stops(config: Config, processes: Processes) -> None:
    """The whole life, twice: the second start keeps the directories."""
    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(processes.answering))

    for _ in range(2):
        assert asyncio.run(nodes.up()) == ["n1", "n2"]
        assert all(DataDirectory.is_formatted(path) for path in config.directories.values())
        assert {process.pid for process in nodes.running().values()} == {
            child.pid for child in processes.children[-2:]
        }
        assert asyncio.run(nodes.down()) == ["n1", "n2"]
        assert not nodes.running()
        assert not list(config.run_directory.glob("*.pid"))
    assert asyncio.run(nodes.down()) == []


def test_up_starts_only_what_does_not_run(config: Config, processes: Processes) -> None:
    """After one node was killed, the other one must not be disturbed."""
    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(processes.answering))
    asyncio.run(nodes.up())
    processes.children[1].kill()
    processes.children[1].wait()

    assert asyncio.run(nodes.up()) == ["n2"]
    assert processes.started == ["n1", "n2", "n2"]


def test_a_node_that_runs_by_itself_is_left_alone_and_named(
    config: Config, processes: Processes
) -> None:
    """Its port was "in use": whoever obeyed that would have stopped one of the last two nodes."""
    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(processes.answering))
    asyncio.run(nodes.up())
    nodes._pid_file(NodeId("n2")).remove()  # as if by ``node run``
    processes.children[0].kill()
    processes.children[0].wait()

    assert asyncio.run(nodes.up()) == ["n1"]
    assert nodes.elsewhere == ("n2",)
    assert asyncio.run(nodes.down()) == ["n1"]
    assert nodes.elsewhere == ("n2",)
    assert processes.children[1].poll() is None


def test_a_node_that_the_file_does_not_name_any_more_is_stopped_too(
    config: Config, processes: Processes
) -> None:
    """``up`` has started it, and nobody else would ever end it."""
    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(processes.answering))
    asyncio.run(nodes.up())
    fewer = structs.replace(config, nodes={NodeId("n1"): config.find("n1")})

    nodes = LocalNodes(fewer, spawn=processes.spawn, look=answers(processes.answering))
    assert asyncio.run(nodes.down()) == ["n1", "n2"]
    assert [child.wait() for child in processes.children] == [-signal.SIGTERM] * 2
    assert not list(config.run_directory.glob("*.pid"))


def test_a_node_that_has_ended_is_told_with_what_to_do(
    config: Config, processes: Processes
) -> None:
    """A refused connection alone is no next step."""
    n2, n3 = NodeId("n2"), NodeId("n3")
    processes.code = "print('the disk is on fire', flush=True);" + IDLE
    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(processes.answering))
    asyncio.run(nodes.up())
    while not last_line(nodes.log_path(n2)):
        time.sleep(0.01)
    silent = NodeView(n2, 0, "", problem="no node answers there", silent=True)
    pid = processes.children[1].pid

    assert nodes.why_missing(silent).startswith(f"it runs (pid {pid}), but no node answers there")
    processes.children[1].kill()
    processes.children[1].wait()
    assert nodes.why_missing(silent) == (
        f"it has ended (pid {pid}), and said last: the disk is on fire; start it: raftlog "
        f"cluster up; its log: {nodes.log_path(n2)}"
    )
    assert nodes.why_missing(NodeView(n2, 0, "", problem="n9 answers there")) == "n9 answers there"
    elsewhere = NodeView(n3, 0, "", problem="no node answers there", silent=True)
    assert nodes.why_missing(elsewhere).endswith(
        "start it: raftlog node run --node n3, or all of this machine: raftlog cluster up"
    )


def test_a_port_in_use_is_told_before_anything_is_made(
    config: Config, processes: Processes
) -> None:
    """No directory is formatted and no process started for a cluster that can't come up."""
    taken = config.find("n2").client
    with socket.create_server(("127.0.0.1", int(taken.rpartition(":")[2]))):
        nodes = LocalNodes(config, spawn=processes.spawn, look=answers(healthy))

        with pytest.raises(Unavailable, match=f"listen.client of node n2 is {taken}.* in use"):
            asyncio.run(nodes.up())

    assert not processes.started
    assert not any(DataDirectory.is_formatted(path) for path in config.directories.values())


def test_an_address_of_another_machine_is_told(config: Config) -> None:
    """``cluster up`` is for one machine; 192.0.2.0/24 belongs to nobody."""
    there = NodeConfig(NodeId("n7"), Path(), "192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:2")

    with pytest.raises(Unavailable, match=r"no address of this machine.*node run --node n7"):
        refuse_addresses_in_use([there])

    refuse_addresses_in_use(list(config.nodes.values()))


def test_the_grpc_address_is_tried_too(config: Config) -> None:
    """A node would end by itself, and say so only in its log."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        grpc = f"127.0.0.1:{taken.getsockname()[1]}"
        node = structs.replace(config.find("n1"), grpc=grpc)

        with pytest.raises(Unavailable, match=f"listen.grpc of node n1 is {grpc}.* in use"):
            refuse_addresses_in_use([node])


def test_a_node_that_ends_by_itself_is_quoted(config: Config, processes: Processes) -> None:
    """Its last line says why; the user should not have to look for the file."""
    processes.code = "print('starting'); print('the disk is on fire'); print()"
    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(lambda: ClusterView(())))

    def look() -> ClusterView:
        for child in processes.children:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        return ClusterView((NodeView(NodeId("n1"), 0, "", problem="no answer"),))

    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(look))

    with pytest.raises(Unavailable, match=r"node n[12] ended by itself"):
        asyncio.run(nodes.up())
    assert last_line(nodes.log_path(NodeId("n1"))) == "the disk is on fire"


def test_a_cluster_without_a_leader_is_waited_for_and_then_told(
    config: Config, processes: Processes
) -> None:
    """The nodes go on running: there may be something to look at."""
    view = ClusterView((NodeView(NodeId("n1"), 0, "", problem="no answer"),))
    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(lambda: view))

    with pytest.raises(Unavailable, match=r"after 0\.5 s shard 0 has no leader"):
        asyncio.run(nodes.up(timeout_s=0.5))

    assert set(nodes.running()) == {"n1", "n2"}


@pytest.mark.parametrize(("other_max", "looks"), [(5, 3), (2, 1)])
def test_a_level_that_is_about_to_rise_is_waited_for(
    config: Config, processes: Processes, other_max: int, looks: int
) -> None:
    """A typed topic is asked for right after it; a member of an older version holds nobody up."""
    seen = 0

    def look() -> ClusterView:
        nonlocal seen
        seen += 1
        level = 2 if seen < 3 else other_max
        first, second = healthy().nodes
        return ClusterView(
            (
                structs.replace(first, feature_level=level, feature_level_max=5),
                structs.replace(second, feature_level=level, feature_level_max=other_max),
            )
        )

    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(look))
    asyncio.run(nodes.up())

    assert seen == looks


def test_a_node_that_does_not_stop_is_named_and_never_killed(
    config: Config, processes: Processes
) -> None:
    """Its pid file stays, so that a second ``down`` can send the second signal."""
    processes.code = STUBBORN
    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(healthy))
    deaf = [nodes.log_path(node) for node in config.nodes]

    def look() -> ClusterView:
        ready = all("deaf" in log.read_text() for log in deaf)
        return healthy() if ready else ClusterView((NodeView(NodeId("n1"), 0, "", problem="-"),))

    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(look))
    asyncio.run(nodes.up())

    with pytest.raises(Unavailable, match=r"n1 \(pid \d+\), n2 .* still run after 0.1 s"):
        asyncio.run(nodes.down(timeout_s=0.1))

    assert set(nodes.running()) == {"n1", "n2"}
    assert [child.poll() for child in processes.children] == [None, None]


def test_a_process_that_only_has_the_pid_is_left_alone(
    config: Config, processes: Processes
) -> None:
    """The pid file is of an earlier boot; its number now belongs to somebody else."""
    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(processes.answering))
    asyncio.run(nodes.up())
    for path in config.run_directory.glob("*.pid"):
        path.write_text(path.read_text().replace('"boot":"', '"boot":"x'))

    assert asyncio.run(nodes.down()) == []
    assert [child.poll() for child in processes.children] == [None, None]


def test_two_commands_at_once_exclude_each_other(config: Config, processes: Processes) -> None:
    """Else both would start n1."""
    config.run_directory.mkdir(parents=True)
    lock = OsFiles().lock(str(config.run_directory / "lock"))

    with pytest.raises(DirectoryLocked):
        asyncio.run(LocalNodes(config, spawn=processes.spawn).up())

    lock.close()
    assert not processes.started


def test_sigterm_is_what_a_node_gets(config: Config, processes: Processes) -> None:
    """It hands over leadership and flushes (ruling 33)."""
    nodes = LocalNodes(config, spawn=processes.spawn, look=answers(processes.answering))
    asyncio.run(nodes.up())

    asyncio.run(nodes.down())

    assert [child.wait() for child in processes.children] == [-signal.SIGTERM] * 2
