"""``cluster.yml``: what is read, and how each mistake is told."""

import re
from pathlib import Path

import pytest

from raftlog.base.errors import ConfigError
from raftlog.base.ids import NodeId
from raftlog.base.limits import MIB
from raftlog.base.space import DiskLimits
from raftlog.raft.config import CoreConfig
from raftlog.server.config import Config, Scrub, Timings, load_config

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")

ONE = "nodes:\n  n1:\n    listen: {peer: 'localhost:1', client: 'localhost:2'}\n"
GRPC = ONE.replace("}", ", grpc: 'localhost:5'}")
TWO_GRPC = "  n2:\n    listen: {peer: 'localhost:3', client: 'localhost:4', grpc: 'localhost:5'}\n"
TWO = ONE + "  n2:\n    listen: {peer: 'localhost:3', client: 'localhost:4'}\n"
HEAD = "cluster: c\ndata: d\n"


def load(directory: Path, text: str, **environment: str) -> Config:
    """Read ``text`` as the file ``cluster.yml``."""
    path = directory / "cluster.yml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environment)


def test_the_cluster_yml_of_the_repository_is_three_fsyncing_nodes() -> None:
    """The two commands of the README use it."""
    config = load_config(Path(__file__).parents[2] / "cluster.yml")

    assert list(config.nodes) == [N1, N2, N3]
    assert (config.durability, config.shards, config.segment_bytes) == ("fsync", 1, 64 * MIB)
    assert not config.lease_reads
    assert [node.grpc for node in config.nodes.values()] == [
        *("127.0.0.1:7301", "127.0.0.1:7302", "127.0.0.1:7303")
    ]


def test_every_key_is_read(tmp_path: Path) -> None:
    """A key that is accepted and then ignored is worse than an unknown one."""
    config = load(
        tmp_path,
        "cluster: big\nshards: 2\ndurability: os-cache\nunsafe: true\ndata: where\n"
        "segment_mib: 8\n"
        "lease_reads: true\n"
        "disk: {scarce_percent: 95, full_percent: 98}\n"
        "scrub: {mib_per_s: 20, rest_minutes: 90}\n"
        "timings: {heartbeat_ms: 20, election_min_ms: 100, election_max_ms: 300}\n"
        "nodes:\n"
        "  n1:\n"
        "    data: /elsewhere/n1\n"
        "    listen: {peer: '0.0.0.0:1', client: '0.0.0.0:2'}\n"
        "    advertise: {client: 'one.example:2'}\n"
        "  n2:\n"
        "    listen: {peer: '[::1]:3', client: '[::1]:4', grpc: '[::1]:5'}\n"
        "    dial: {n1: 'one.example:1'}\n",
    )

    assert (config.cluster, config.shards, config.unsafe) == ("big", 2, True)
    assert (config.durability, config.segment_bytes) == ("os-cache", 8 * MIB)
    assert config.disk == DiskLimits(95, 98)
    assert config.timings == Timings(20, 100, 300)
    assert config.lease_reads
    assert config.scrub == Scrub(20 * MIB, 90 * 60 * 1_000_000_000)
    assert config.directories == {N1: Path("/elsewhere/n1"), N2: tmp_path / "where" / "n2"}
    assert config.seeds == ["one.example:2", "[::1]:4"]
    assert config.find("n1").listens == {"peer": "0.0.0.0:1", "client": "0.0.0.0:2"}
    assert config.find("n2").grpc == "[::1]:5"
    assert config.peer_addresses(N2) == {N1: "one.example:1", N2: "[::1]:3"}
    assert config.run_directory == tmp_path / "where" / "run"


def test_timings_count_in_the_ticks_of_the_core() -> None:
    """Milliseconds in the file and ticks in the core are the same time."""
    core, plain = CoreConfig(), Timings()

    assert plain.heartbeat_ticks == core.heartbeat_ticks
    assert plain.election_ticks_min == core.election_ticks_min
    assert plain.election_ticks_max == core.election_ticks_max


MISTAKES = [
    ("", "1:1", "empty"),
    ("- 1\n", "1:1", "a list"),
    ("cluster: [\n", "2:1", "expected the node content"),
    ("cluster: a\ncluster: b\n", "2:1", "duplicate key"),
    (HEAD + "durabilty: fsync\n" + ONE, "3:1", "did you mean 'durability'?"),
    (HEAD + "zzz: red\n" + ONE, "3:1", "it knows cluster, data, disk, durability"),
    (HEAD + "7: x\n" + ONE, "3:1", "write it in quotes"),
    ("data: d\n" + ONE, "1:1", "needs the key 'cluster'"),
    ("cluster: c\n" + ONE, "1:1", "needs the key 'data'"),
    (HEAD, "1:1", "needs the key 'nodes'"),
    ("cluster: 'a b'\ndata: d\n" + ONE, "1:1", "letters, digits"),
    ("cluster: 7\ndata: d\n" + ONE, "1:10", "must be text, not a number"),
    ("cluster: ''\ndata: d\n" + ONE, "1:10", "is empty"),
    (HEAD + "shards: many\n" + ONE, "3:9", "must be a number, not text"),
    (HEAD + "shards: true\n" + ONE, "3:9", "must be a number, not true or false"),
    (HEAD + "shards: 0\n" + ONE, "3:9", "must be 1 to 64"),
    (HEAD + "segment_mib: 4\n" + ONE, "3:14", "must be 8 to 4095"),
    (HEAD + "unsafe: 1\n" + ONE, "3:9", "must be true or false, not a number"),
    (HEAD + "lease_reads: 2\n" + ONE, "3:14", "must be true or false, not a number"),
    (HEAD + "durability: maybe\n" + ONE, "3:13", "write fsync or os-cache"),
    (HEAD + "durability: os-cache\n" + TWO, "3:13", "unsafe: true"),
    (HEAD + "timings: {heartbeat_ms: 15}\n" + ONE, "3:25", "steps of 10 ms"),
    (HEAD + "timings: {heartbeat_ms: 400}\n" + ONE, "3:10", "less than two heartbeats"),
    (HEAD + "timings: {election_max_ms: 500}\n" + ONE, "3:28", "split vote"),
    (HEAD + "disk: {scarce_percent: 95}\n" + ONE, "3:24", "records come last"),
    (HEAD + "disk: {full_percent: 101}\n" + ONE, "3:22", "must be 1 to 100"),
    (HEAD + "scrub: {mib_per_s: 0}\n" + ONE, "3:20", "must be 1 to 1024"),
    (HEAD + "scrub: {rest_minutes: 10081}\n" + ONE, "3:23", "must be 1 to 10080"),
    (HEAD + "scrub: {rate: 4}\n" + ONE, "3:9", "has no key 'rate'"),
    (HEAD + "nodes: {}\n", "3:8", "names 0 nodes"),
    (HEAD + "nodes: n1\n", "3:8", "must be a mapping, not text"),
    (HEAD + "nodes:\n  n1:\n", "4:3", "n1 is empty"),
    (HEAD + "nodes:\n  n1: {lisen: {}}\n", "4:8", "did you mean 'listen'?"),
    (HEAD + "nodes:\n  n1: {data: x}\n", "4:7", "node n1 needs the key 'listen'"),
    (HEAD + "nodes:\n  n1: {listen: {peer: 'h:1'}}\n", "4:16", "needs the key 'client'"),
    (HEAD + ONE.replace("n1", "n/1"), "4:3", "letters, digits"),
    (HEAD + ONE.replace("localhost:1", "localhost"), "5:20", "write host:port"),
    (HEAD + ONE.replace("localhost:1", "::1:1"), "5:20", "write host:port"),
    (HEAD + ONE.replace("localhost:1", "localhost:0"), "5:20", "1 to 65535"),
    (HEAD + ONE.replace("localhost:1", "localhost:65536"), "5:20", "1 to 65535"),
    (HEAD + ONE.replace("localhost:1", "localhost:x"), "5:20", "1 to 65535"),
    (HEAD + ONE.replace("localhost:2", "localhost:1"), "5:43", "also by listen.peer of node n1"),
    (HEAD + TWO.replace("localhost:4", "localhost:2"), "7:43", "also by listen.client of node n1"),
    (HEAD + GRPC.replace("localhost:5", "localhost"), "5:64", "write host:port"),
    (HEAD + GRPC.replace("localhost:5", "localhost:0"), "5:64", "1 to 65535"),
    (
        HEAD + GRPC.replace("localhost:5", "localhost:2"),
        "5:64",
        "also by listen.client of node n1",
    ),
    (HEAD + GRPC.replace("grpc", "gprc"), "5:58", "did you mean 'grpc'?"),
    (HEAD + GRPC + TWO_GRPC, "7:64", "also by listen.grpc of node n1"),
    (HEAD + ONE.replace("localhost:2", "0.0.0.0:2"), "5:43", "advertise: {client"),
    (HEAD + TWO.replace("localhost:1", "0.0.0.0:1"), "7:5", "add `dial: {n1: 'host:port'}`"),
    (HEAD + TWO + "    data: d/n1\n", "8:11", "also by node n1"),
    (HEAD + TWO + "    dial: {n3: 'h:1'}\n", "8:12", "its peers are: n1"),
    (HEAD + TWO + "    dial: {n2: 'h:1'}\n", "8:12", "its peers are: n1"),
    (HEAD + TWO + "    advertise: {peer: 'h:1'}\n", "8:17", "has no key 'peer'"),
]


@pytest.mark.parametrize(("text", "place", "what"), MISTAKES)
def test_a_mistake_is_told_with_its_place(
    tmp_path: Path, text: str, place: str, what: str
) -> None:
    """Whoever wrote the line must be able to jump to it and know what to write instead."""
    with pytest.raises(ConfigError, match=re.escape(what)) as caught:
        load(tmp_path, text)

    assert str(caught.value).startswith(f"{tmp_path / 'cluster.yml'}:{place}: ")


def test_more_nodes_than_can_vote_are_refused(tmp_path: Path) -> None:
    """Every voter beyond the bound makes commits slower and nothing safer."""
    nodes = "".join(
        f"  n{n}:\n    listen: {{peer: 'h:{2 * n + 1}', client: 'h:{2 * n + 2}'}}\n"
        for n in range(8)
    )

    with pytest.raises(ConfigError, match="names 8 nodes; a cluster has 1 to 7"):
        load(tmp_path, HEAD + "nodes:\n" + nodes)


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    """No traceback for a mistyped path."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yml")


def test_a_binary_file_is_a_config_error(tmp_path: Path) -> None:
    """Nor for a file of another kind."""
    path = tmp_path / "cluster.yml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(path)


def test_os_cache_is_for_a_node_alone(tmp_path: Path) -> None:
    """With one node a power cut takes back only what the receipt named as weak (ruling 26)."""
    assert load(tmp_path, HEAD + "durability: os-cache\n" + ONE).durability == "os-cache"


def test_the_environment_stands_over_the_file(tmp_path: Path) -> None:
    """A container sets where its disk is without editing the file."""
    config = load(tmp_path, HEAD + ONE, RAFTLOG_DATA="/disk", RAFTLOG_DURABILITY="os-cache")

    assert config.directories == {N1: Path("/disk/n1")}
    assert config.durability == "os-cache"


def test_the_environment_is_checked_like_the_file(tmp_path: Path) -> None:
    """Neither a wrong word nor a weak cluster comes in by the side door."""
    with pytest.raises(ConfigError, match="RAFTLOG_DURABILITY is 'none'"):
        load(tmp_path, HEAD + ONE, RAFTLOG_DURABILITY="none")
    with pytest.raises(ConfigError, match="unsafe: true"):
        load(tmp_path, HEAD + TWO, RAFTLOG_DURABILITY="os-cache")


def test_an_unknown_node_is_told_which_there_are(tmp_path: Path) -> None:
    """``--node`` is typed by hand."""
    with pytest.raises(ConfigError, match="no node 'n9' in nodes; it names n1, n2"):
        load(tmp_path, HEAD + TWO).find("n9")
