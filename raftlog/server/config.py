"""``cluster.yml``: who the nodes are, where they listen, where their data is.

One file describes the whole cluster and is the same on every machine; a node
finds itself in it by name. What is wrong with it is said with file, line and
column, before anything starts. It holds no promises: identities are drawn at
formation and kept in the data directories, so editing this file can make nodes
unreachable but never make two of them one.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, cast

import msgspec

from raftlog.base.errors import ConfigError
from raftlog.base.ids import NodeId
from raftlog.base.limits import (
    ELECTION_TICKS_MAX,
    ELECTION_TICKS_MIN,
    HEARTBEAT_TICKS,
    MIB,
    SCRUB_BYTES_PER_S,
    SCRUB_REST_NS,
    SEGMENT_BYTES,
    SEGMENT_BYTES_DEV,
    TICK_NS,
    VOTERS_MAX,
)
from raftlog.base.space import DiskLimits
from raftlog.server.document import Section, read_document
from raftlog.wire.address import parse_address

TICK_MS: Final = TICK_NS // 1_000_000
ROOT_KEYS: Final = (
    *("cluster", "shards", "durability", "unsafe", "data", "segment_mib", "disk", "timings"),
    *("lease_reads", "scrub", "nodes"),
)
NODE_KEYS: Final = ("data", "listen", "advertise", "dial")
LISTEN_KEYS: Final = ("peer", "client", "grpc")
LISTEN_OPTIONAL_KEYS: Final = frozenset({"grpc"})
ADVERTISE_KEYS: Final = ("client",)
SCRUB_KEYS: Final = ("mib_per_s", "rest_minutes")
DISK_KEYS: Final = ("scarce_percent", "full_percent", "plenty_mib")
TIMING_KEYS: Final = ("heartbeat_ms", "election_min_ms", "election_max_ms")
DURABILITIES: Final = ("fsync", "os-cache")
ENV_DATA: Final = "RAFTLOG_DATA"
ENV_DURABILITY: Final = "RAFTLOG_DURABILITY"

MINUTE_NS: Final = 60_000_000_000
_SHARDS_MAX: Final = 64
_SCRUB_MIB_MAX: Final = 1_024
_REST_MINUTES_MAX: Final = 7 * 24 * 60
"""A week: what is looked at more seldom is damaged on two disks before it is found on one."""
_TIMING_MS_MAX: Final = 60_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_ANYWHERE: Final = frozenset({"0.0.0.0", "[::]"})  # noqa: S104  (recognised, not bound)

Durability = Literal["fsync", "os-cache"]


class Timings(msgspec.Struct, frozen=True):
    """Raft's patience, in whole ticks of 10 ms."""

    heartbeat_ms: int = HEARTBEAT_TICKS * TICK_MS
    election_min_ms: int = ELECTION_TICKS_MIN * TICK_MS
    election_max_ms: int = ELECTION_TICKS_MAX * TICK_MS

    @property
    def heartbeat_ticks(self) -> int:
        """The heartbeat interval as the core counts it."""
        return self.heartbeat_ms // TICK_MS

    @property
    def election_ticks_min(self) -> int:
        """The shortest election timeout as the core counts it."""
        return self.election_min_ms // TICK_MS

    @property
    def election_ticks_max(self) -> int:
        """The longest election timeout as the core counts it."""
        return self.election_max_ms // TICK_MS


class Scrub(msgspec.Struct, frozen=True):
    """How each node looks for damage that nobody has met yet."""

    bytes_per_s: int = SCRUB_BYTES_PER_S
    rest_ns: int = SCRUB_REST_NS


class NodeConfig(msgspec.Struct, frozen=True):
    """One node. Addresses are ``host:port``; an IPv6 host stands in brackets.

    Attributes:
        node: Its name.
        data: Its data directory.
        peer: Where it listens for the other nodes.
        client: Where it listens for clients.
        grpc: Where it listens for gRPC clients; "" if it does not.
        advertise_client: What clients are told to connect to.
        dial: How it reaches a peer, where that is not the peer's ``listen.peer``.
    """

    node: NodeId
    data: Path
    peer: str
    client: str
    advertise_client: str
    dial: dict[NodeId, str] = {}
    grpc: str = ""

    @property
    def listens(self) -> dict[str, str]:
        """Every address that it listens on, by its key below ``listen``."""
        listens = {"peer": self.peer, "client": self.client, "grpc": self.grpc}
        return {key: address for key, address in listens.items() if address}


class Config(msgspec.Struct, frozen=True):
    """A whole cluster, valid by construction."""

    path: Path
    cluster: str
    shards: int
    durability: Durability
    unsafe: bool
    data: Path
    segment_bytes: int
    disk: DiskLimits
    timings: Timings
    lease_reads: bool
    scrub: Scrub
    nodes: dict[NodeId, NodeConfig]

    @property
    def directories(self) -> dict[NodeId, Path]:
        """Each node's data directory."""
        return {node.node: node.data for node in self.nodes.values()}

    @property
    def seeds(self) -> list[str]:
        """Every node's client address, as clients reach it."""
        return [node.advertise_client for node in self.nodes.values()]

    @property
    def run_directory(self) -> Path:
        """Where the supervisor keeps pid files and logs of nodes on this machine."""
        return self.data / "run"

    def find(self, name: str) -> NodeConfig:
        """Return the node ``name``.

        Raises:
            ConfigError: The file names no such node.
        """
        node = self.nodes.get(NodeId(name))
        if node is None:
            known = ", ".join(self.nodes)
            raise ConfigError(f"{self.path}:1:1: no node {name!r} in nodes; it names {known}")
        return node

    def peer_addresses(self, name: NodeId) -> dict[NodeId, str]:
        """Return where ``name`` dials every other node (ruling 28), and where it listens."""
        dial = self.nodes[name].dial
        return {node: dial.get(node, other.peer) for node, other in self.nodes.items()}


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read and check ``path``.

    Args:
        path: The file. Relative directories in it are relative to where it is.
        environment: ``RAFTLOG_DATA`` and ``RAFTLOG_DURABILITY`` stand over the file.

    Raises:
        ConfigError: What is wrong, where, and what to do.
    """
    root = read_document(path, "the file", ROOT_KEYS)
    given = environment or {}
    base = path.resolve().parent
    data = base / (given.get(ENV_DATA) or root.text("data"))
    config = Config(
        path=path,
        cluster=_name(root, "cluster", root.text("cluster")),
        shards=root.number("shards", 1, 1, _SHARDS_MAX),
        durability=_durability(root, given),
        unsafe=root.flag("unsafe", default=False),
        data=data,
        segment_bytes=_segment_bytes(root),
        disk=_disk(root),
        timings=_timings(root),
        lease_reads=root.flag("lease_reads", default=False),
        scrub=_scrub(root),
        nodes=_nodes(root, data, base),
    )
    _check_durability(root, config)
    return config


# -- values


def _name(section: Section, key: str, name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise section.at_key(
            key,
            f"the name {name!r} must be 1 to 32 letters, digits, '-' or '_'; shorten or respell",
        )
    return name


def _durability(root: Section, environment: Mapping[str, str]) -> Durability:
    override = environment.get(ENV_DURABILITY)
    if override and override not in DURABILITIES:
        raise ConfigError(f"{ENV_DURABILITY} is {override!r}; write {' or '.join(DURABILITIES)}")
    return cast("Durability", override or root.choice("durability", DURABILITIES, "fsync"))


def _check_durability(root: Section, config: Config) -> None:
    """Refuse what breaks R2: one power cut would take back committed entries (ruling 26)."""
    if config.durability == "os-cache" and len(config.nodes) > 1 and not config.unsafe:
        raise root.at_value(
            "durability",
            "os-cache lets one power cut take back what a cluster acknowledged; write fsync, or "
            "add `unsafe: true` to accept that",
        )


def _segment_bytes(root: Section) -> int:
    low, high = SEGMENT_BYTES_DEV // MIB, (1 << 32) // MIB - 1
    return root.number("segment_mib", SEGMENT_BYTES // MIB, low, high) * MIB


def _disk(root: Section) -> DiskLimits:
    plain = DiskLimits()
    if "disk" not in root:
        return plain
    section = root.section("disk", DISK_KEYS)
    scarce = section.number("scarce_percent", plain.scarce_percent, 1, 100)
    full = section.number("full_percent", plain.full_percent, 1, 100)
    if scarce > full:
        raise section.at_value(
            "scarce_percent" if "scarce_percent" in section else "full_percent",
            f"topics are refused from {scarce} % on, records from {full} %; records come last: "
            "raise full_percent or lower scarce_percent",
        )
    plenty = section.number("plenty_mib", plain.plenty_bytes // MIB, 1, 1 << 30)
    return DiskLimits(scarce, full, plenty * MIB)


def _scrub(root: Section) -> Scrub:
    plain = Scrub()
    if "scrub" not in root:
        return plain
    section = root.section("scrub", SCRUB_KEYS)
    rate = section.number("mib_per_s", plain.bytes_per_s // MIB, 1, _SCRUB_MIB_MAX)
    rest = section.number("rest_minutes", plain.rest_ns // MINUTE_NS, 1, _REST_MINUTES_MAX)
    return Scrub(rate * MIB, rest * MINUTE_NS)


def _timings(root: Section) -> Timings:
    if "timings" not in root:
        return Timings()
    section = root.section("timings", TIMING_KEYS)
    plain = Timings()
    values = {}
    for key in TIMING_KEYS:
        value = section.number(key, getattr(plain, key), TICK_MS, _TIMING_MS_MAX)
        if value % TICK_MS:
            raise section.at_value(key, f"{key} is {value}; time goes in steps of {TICK_MS} ms")
        values[key] = value
    timings = Timings(**values)
    if timings.heartbeat_ms * 2 > timings.election_min_ms:
        raise section.at_value(
            "election_min_ms",
            f"an election timeout of {timings.election_min_ms} ms is less than two heartbeats of "
            f"{timings.heartbeat_ms} ms; raise election_min_ms or lower heartbeat_ms",
        )
    if timings.election_min_ms >= timings.election_max_ms:
        raise section.at_value(
            "election_max_ms",
            "election timeouts need a range, or every election is a split vote; raise "
            f"election_max_ms above {timings.election_min_ms}",
        )
    return timings


# -- nodes


def _nodes(root: Section, data: Path, base: Path) -> dict[NodeId, NodeConfig]:
    section = root.section("nodes", None)
    if not 1 <= len(section) <= VOTERS_MAX:
        raise root.at_value(
            "nodes", f"nodes names {len(section)} nodes; a cluster has 1 to {VOTERS_MAX}"
        )
    taken: dict[str, str] = {}
    nodes = {}
    for name in section:
        _name(section, name, name)
        node = section.section(name, NODE_KEYS, title=f"node {name}")
        nodes[NodeId(name)] = _node(node, name, data, base, taken)
    _check_links(section, nodes)
    return nodes


def _node(
    section: Section, name: str, data: Path, base: Path, taken: dict[str, str]
) -> NodeConfig:
    """Read one node. ``taken`` maps what only one node may have to who has it."""
    directory = base / section.text("data") if "data" in section else data / name
    where = "data" if "data" in section else name
    _claim(section, where, f"directory {directory.resolve()}", f"node {name}", taken)
    listen = section.section("listen", LISTEN_KEYS, title=f"listen of node {name}")
    addresses = {
        key: _address(listen, key)
        for key in LISTEN_KEYS
        if key in listen or key not in LISTEN_OPTIONAL_KEYS
    }
    for key, address in addresses.items():
        _claim(listen, key, f"address {address}", f"listen.{key} of node {name}", taken)
    advertised = addresses["client"]
    if "advertise" in section:
        advertise = section.section("advertise", ADVERTISE_KEYS, f"advertise of node {name}")
        advertised = _address(advertise, "client")
        _claim(advertise, "client", f"advertised {advertised}", f"node {name}", taken)
    if _host(advertised) in _ANYWHERE:
        raise listen.at_value(
            "client",
            f"clients can't connect to {advertised}; say where they can: "
            "`advertise: {client: 'host:port'}`",
        )
    return NodeConfig(
        node=NodeId(name),
        data=directory,
        **addresses,
        advertise_client=advertised,
        dial=_dial(section),
    )


def _dial(section: Section) -> dict[NodeId, str]:
    if "dial" not in section:
        return {}
    dial = section.section("dial", None, title=f"dial of {section.title}")
    return {NodeId(name): _address(dial, name) for name in dial}


def _check_links(section: Section, nodes: Mapping[NodeId, NodeConfig]) -> None:
    """Every node can reach every other one, and dials nobody else."""
    for name, node in nodes.items():
        place = section.section(name, None)
        for other in node.dial:
            if other not in nodes or other == name:
                known = ", ".join(known for known in nodes if known != name) or "none"
                raise place.section("dial", None).at_key(
                    other, f"node {name} can't dial {other!r}; its peers are: {known}"
                )
        for other, peer in nodes.items():
            if other != name and other not in node.dial and _host(peer.peer) in _ANYWHERE:
                raise place.at_key(
                    "dial",
                    f"node {name} can't dial {peer.peer}, where {other} listens; add "
                    f"`dial: {{{other}: 'host:port'}}` to node {name}",
                )


def _claim(section: Section, key: str, what: str, owner: str, taken: dict[str, str]) -> None:
    other = taken.setdefault(what, owner)
    if other != owner:
        raise section.at_value(key, f"{what} is used twice, also by {other}; choose another")


def _address(section: Section, key: str) -> str:
    address = section.text(key)
    try:
        _, port = parse_address(address)
    except ValueError as error:
        raise section.at_value(key, str(error)) from None
    if not port:
        raise section.at_value(key, f"port 0 of {address!r} must be 1 to 65535; correct it")
    return address


def is_anywhere(address: str) -> bool:
    """Whether it is where a node listens, and nothing that anybody can connect to."""
    return _host(address) in _ANYWHERE


def _host(address: str) -> str:
    return address.rpartition(":")[0]
