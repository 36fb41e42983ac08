"""What one seed is: cluster size, limits, rates and which faults, all drawn from the seed.

Swarm testing: each seed leaves out most kinds of faults and exaggerates the
others, because a fault that is always on hides what happens without it. Limits
are tiny so that rolls, windows, loads from disk and backtracking come in
seconds, not in gigabytes.
"""

from random import Random
from typing import Final

import msgspec

from chaos.sim.atomic_work import GROUP
from chaos.sim.events import MS_NS, SECOND_NS, stream
from chaos.sim.faults import DAMAGE, UNDER_OS_CACHE, Fault, draw_faults, draw_period_ms
from chaos.sim.half_work import HalfWork, draw_halves
from chaos.sim.lease_work import LeaseWork, draw_work
from chaos.sim.letter_work import LetterWork, draw_letters
from chaos.sim.network import NetworkConfig
from chaos.sim.quota_work import QuotaWork, draw_quotas
from chaos.sim.staged_work import StagedWork, draw_staged
from chaos.sim.steered_work import SHARE as STEERED_SHARE
from chaos.sim.steered_work import STEERED
from raftlog.base.assignors import ASSIGNORS, COOPERATIVE
from raftlog.base.limits import KIB, TAIL_BYTES_MAX, UNCOMMITTED_BYTES_MAX
from raftlog.raft.config import CoreConfig

BIG_EVERY: Final = 100
"""One seed in so many is big: seven nodes, ten minutes (ruling 36)."""
TRIMS_SHARE: Final = 0.35
"""Topic stores that trim early, so that who was away falls behind the log's beginning."""
LEASES_SHARE: Final = 0.25
"""Seeds whose leaders read by leases, with clocks as bad as these allow."""
MEMBERS_SHARE: Final = 0.3
"""Seeds whose members change, of those in which no replica is damaged."""
OS_CACHE_SHARE: Final = 0.3
"""Seeds in which nothing is synced, of those with a majority to lose and none to change."""
WIPED_SHARE: Final = 0.2
WIPED_SHARE_TRIMMED: Final = 0.6
"""Seeds in which a replica may lose its disk, of those in which none is damaged, nor a majority
lost; and of those with trims, where it can't be built again from the log alone."""
BACKUPS_SHARE: Final = 0.3
"""Seeds in which an old copy of a directory may be put back, of those without other losses."""
LOST_WRITES_SHARE: Final = 0.15
"""Seeds whose disks lose writes that they confirm, of those without other losses or changes."""
LOST_SHARE: Final = 0.15
"""Seeds in which majorities are lost for good, of those in which no replica is damaged."""
ALL_CLOCKS_SHARE: Final = 0.2
"""Seeds in which any wall clock may be wrong."""
CONSUMED_SHARE: Final = 0.6
"""Topic stores that forget what was consumed, of those with groups and a bound."""
IDS_SHARE: Final = 0.5
"""Topic stores whose records may have business ids."""
TYPES_SHARE: Final = 0.3
"""Topic stores with topics that take messages of some types only."""
ATOMIC_SHARE: Final = 0.3
"""Topic stores with a group that reads, processes and writes in transactions."""
OLD_BINARIES_SHARE: Final = 0.6
"""Topic stores whose nodes begin with the version before, of those whose members stay."""
ROOM: Final = 10
"""So many times as much is in a range in a long seed."""
BROKER_SHARE: Final = 0.4
"""Seeds that run the topic store; the others run raw entries, at half the cost."""


class CallsConfig(msgspec.Struct, frozen=True):
    """How bad the way between clients and nodes is. Rates are probabilities per request."""

    mean_ns: int = MS_NS
    lost: float = 0.0
    """Requests that never arrive, and answers likewise."""
    late: float = 0.0
    """Requests that arrive when nobody waits for them any more."""
    late_ns_max: int = 6_000 * MS_NS


class BrokerConfig(msgspec.Struct, frozen=True):
    """The topic store in a seed: its limits, and who uses it how."""

    range_body_bytes: int
    range_postings: int
    snapshot_chunk_bytes: int
    topics: tuple[str, ...]
    """Topics that stay; others come and go."""
    queues_max: int
    retention_ms: int
    retention_bytes: int
    codec: str
    calls: CallsConfig
    value_bytes_max: int
    plain_per_s: float
    idempotent_per_s: float
    """Of each producer."""
    producers: int
    in_flight_max: int
    crashes_per_s: float
    readers: int
    reads_per_s: float
    groups: tuple[str, ...]
    members: int
    """Of each group."""
    session_ms: int
    member_sleeps: float
    """How often a member falls asleep, per heartbeat; how often it leaves."""
    member_leaves: float
    commits_late: float
    """How often a commit leaves when somebody else may have the queue."""
    administration_per_s: float
    delayed: float = 0.0
    """How much of what idempotent producers send is to be visible later."""
    cancels: float = 0.0
    """How much of that they cancel, or try to."""
    ids: int = 0
    """So many different business ids are used; 0: none."""
    until_consumed: bool = False
    """Whether topics forget what every group has committed."""
    types: float = 0.0
    """How often a topic that comes and goes is told what it takes."""
    assignors: tuple[str, ...] = ()
    """How each group shares its queues out; none: by range."""
    static_members: int = 0
    """So many members of each group have a fixed name."""
    leases: LeaseWork | None = None
    """What queue-style groups do; None: there are none."""
    halves: HalfWork | None = None
    """Who sends half messages; None: nobody."""
    letters: LetterWork | None = None
    """Whose dead letters are sent again; None: nobody's."""
    quotas: QuotaWork | None = None
    """How quotas come and go; None: there are none."""
    staged: StagedWork | None = None
    """How the transactions of the group that makes some are staged; None: none is."""


class SeedConfig(msgspec.Struct, frozen=True):
    """Everything that is decided before a run begins."""

    seed: int
    nodes: int
    fault_ns: int
    core: CoreConfig
    segment_bytes: int
    coalesce: bool
    network: NetworkConfig
    periods_ns: dict[Fault, int]
    appends_per_s: float
    reads_per_s: float
    value_bytes_max: int
    disk_ns: int
    """Mean time of one plan."""
    victims: int
    """How many replicas may have damage that a checksum shows (ruling 16)."""
    wrong_clocks: int
    """How many replicas may have a wall clock that is wrong."""
    drift_ppm: int
    heal_majority: bool
    """Whether a minority stays down at the end."""
    broker: BrokerConfig | None = None
    """None: raw entries."""
    astray: float = 0.1
    """How often a client looks for the leader somewhere else than where it was."""
    old_binaries: bool = False
    """Whether all nodes begin with the version before, and get this one at some restart."""
    os_cache: bool = False
    """Whether nothing is synced: a power cut is a machine's own, one at a time (ruling 26)."""

    @property
    def clocks_are_right(self) -> bool:
        """Whether a majority of the voters' clocks are right, whoever the voters are."""
        # then few may vote
        fewer = {Fault.MEMBERS, Fault.WIPED, Fault.LOST_WRITE, Fault.MAJORITY_LOST, Fault.REBOOT}
        return self.wrong_clocks * 2 < self.nodes and not fewer & self.periods_ns.keys()


def is_big(seed: int) -> bool:
    """Whether the seed is one of the long ones."""
    return seed % BIG_EVERY == BIG_EVERY - 1


def draw_config(seed: int) -> SeedConfig:
    """Derive a seed's configuration."""
    config = _with_lost_writes(_with_trims(_with_os_cache(_draw_config(seed))))
    config = _with_ids(_with_leases(config))
    if config.broker is None:
        return config
    quiet = 4 if is_big(seed) else 1
    leases, halves = draw_work(seed, quiet), draw_halves(seed, quiet)
    broker = msgspec.structs.replace(
        config.broker,
        leases=leases,
        halves=halves,
        letters=draw_letters(seed, quiet),
        quotas=draw_quotas(seed, quiet),
    )
    broker = _with_types(seed, _with_steered(seed, _with_atomic(seed, broker)))
    if is_big(seed):
        config, broker = _with_room(config, broker)
    return _with_old_binaries(msgspec.structs.replace(config, broker=broker))


def _with_room(config: SeedConfig, broker: BrokerConfig) -> tuple[SeedConfig, BrokerConfig]:
    """Let a log of ten minutes have dozens of segments and ranges, and not thousands.

    All of them are looked at each time that states are compared.
    """
    return (
        msgspec.structs.replace(config, segment_bytes=max(config.segment_bytes, 32 * KIB)),
        msgspec.structs.replace(
            broker,
            range_body_bytes=ROOM * broker.range_body_bytes,
            range_postings=ROOM * broker.range_postings,
        ),
    )


def _with_old_binaries(config: SeedConfig) -> SeedConfig:
    """Let the version be another one after restarts in some seeds, whose members stay.

    A node that comes later with an older version than the shard's would stop, and should.
    """
    apart = {Fault.MEMBERS, Fault.MAJORITY_LOST, Fault.WIPED, Fault.OLD_BACKUP, Fault.REBOOT}
    apart.add(Fault.LOST_WRITE)
    if apart & config.periods_ns.keys() or config.broker is None:
        return config
    old = stream(config.seed, "versions").random() < OLD_BINARIES_SHARE
    return msgspec.structs.replace(config, old_binaries=old)


def _with_atomic(seed: int, config: BrokerConfig) -> BrokerConfig:
    """Let a group read, process and write in transactions in some seeds."""
    random = stream(seed, "atomic")
    if random.random() >= ATOMIC_SHARE:
        return config
    assignors = config.assignors or ("",) * len(config.groups)
    return msgspec.structs.replace(
        config,
        groups=(*config.groups, GROUP),
        assignors=(*assignors, random.choice(("", *ASSIGNORS, COOPERATIVE))),
        staged=draw_staged(seed),
    )


def _with_types(seed: int, config: BrokerConfig) -> BrokerConfig:
    """Let topics that come and go take messages of some types only in some seeds."""
    random = stream(seed, "types")
    if random.random() >= TYPES_SHARE:
        return config
    return msgspec.structs.replace(config, types=random.choice((0.4, 0.8)))


def _with_steered(seed: int, config: BrokerConfig) -> BrokerConfig:
    """Let somebody say by hand what a group reads, instead of one of the others."""
    random = stream(seed, "steered")
    if GROUP in config.groups or random.random() >= STEERED_SHARE:
        return config
    return msgspec.structs.replace(
        config,
        groups=(*config.groups[:-1], STEERED),
        assignors=(*config.assignors[:-1], ""),
        members=2,
        member_leaves=max(config.member_leaves, 0.05),  # so that a group has no members at times
    )


def _with_ids(config: SeedConfig) -> SeedConfig:
    """Let records have business ids in some seeds, and be forgotten once consumed in others."""
    random = stream(config.seed, "ids")
    broker = config.broker
    if broker is None:
        return config
    bounded = broker.retention_ms or broker.retention_bytes
    if bounded and broker.groups and random.random() < CONSUMED_SHARE:
        broker = msgspec.structs.replace(broker, until_consumed=True)
    if random.random() < IDS_SHARE:
        broker = msgspec.structs.replace(broker, ids=random.choice((2, 8, 30)))
    return msgspec.structs.replace(config, broker=broker)


def _with_leases(config: SeedConfig) -> SeedConfig:
    """Let leaders read by leases in some seeds, with many reads and what might break them."""
    seed = config.seed
    random = stream(seed, "leases")
    apart = config.os_cache or Fault.MAJORITY_LOST in config.periods_ns
    if config.nodes < 2 or apart or random.random() >= LEASES_SHARE:
        return config
    more = (Fault.TRANSFER, Fault.PARTITION, Fault.FALSE_HINT, Fault.PAUSE, Fault.KILL)
    faults = [fault for fault in (*more, Fault.CLOCK) if random.random() < 0.6]
    quiet = 4 if is_big(seed) else 1
    periods_ns = {
        fault: quiet * MS_NS * draw_period_ms(seed, fault) for fault in (*faults, Fault.DEPOSED)
    }
    return msgspec.structs.replace(
        config,
        core=msgspec.structs.replace(config.core, lease_reads=True),
        periods_ns={**periods_ns, **config.periods_ns},
        appends_per_s=30 / quiet,
        reads_per_s=random.choice((10, 60)) / quiet,
        astray=0.5,
        drift_ppm=random.choice((0, 20_000, 50_000)),
    )


def _with_trims(config: SeedConfig) -> SeedConfig:
    seed = config.seed
    random = stream(seed, "trims")
    if config.broker is None or config.nodes < 3 or random.random() >= TRIMS_SHARE:
        return _with_wipes(config, WIPED_SHARE)
    if config.os_cache:
        return config
    broker = msgspec.structs.replace(
        config.broker,
        retention_bytes=random.choice((200, 800)),
        range_body_bytes=random.choice((500, 2_000)),
        idempotent_per_s=max(config.broker.idempotent_per_s, 6.0),
    )
    outage_ns = MS_NS * draw_period_ms(seed, Fault.OUTAGE)
    trimmed = msgspec.structs.replace(
        config,
        segment_bytes=2 * KIB,
        value_bytes_max=min(config.value_bytes_max, 300),
        periods_ns={**config.periods_ns, Fault.OUTAGE: outage_ns},
        broker=broker,
    )
    return _with_wipes(trimmed, WIPED_SHARE_TRIMMED)


def _with_wipes(config: SeedConfig, share: float) -> SeedConfig:
    """Let disks be lost, or go back, in a share of the seeds in which nothing else is lost."""
    loses = config.victims or config.os_cache or Fault.MAJORITY_LOST in config.periods_ns
    if loses or config.nodes < 3:
        return config
    if stream(config.seed, "wiped").random() < share:
        return _with_loss(config, Fault.WIPED)
    if stream(config.seed, "backups").random() < BACKUPS_SHARE:
        return _with_loss(config, Fault.OLD_BACKUP)
    return config


def _with_lost_writes(config: SeedConfig) -> SeedConfig:
    """Let the victims' disks lose writes in some seeds, in the place of other damage.

    Rot, and a lost word of what rotted, are two faults of one disk.
    """
    losses = {Fault.WIPED, Fault.OLD_BACKUP, Fault.MAJORITY_LOST}
    apart = config.os_cache or {Fault.MEMBERS, *losses} & config.periods_ns.keys()
    drawn = stream(config.seed, "lost writes drawn").random() < LOST_WRITES_SHARE
    if config.nodes < 3 or apart or not drawn:
        return config
    kept = {each: ns for each, ns in config.periods_ns.items() if each not in DAMAGE}
    config = msgspec.structs.replace(config, periods_ns=kept, victims=(config.nodes - 1) // 2)
    return _with_loss(config, Fault.LOST_WRITE)


def _with_loss(config: SeedConfig, fault: Fault) -> SeedConfig:
    period_ns = (8 if is_big(config.seed) else 1) * MS_NS * draw_period_ms(config.seed, fault)
    return msgspec.structs.replace(
        config,
        periods_ns={**config.periods_ns, fault: period_ns},
        heal_majority=False,  # whoever is left may be needed
    )


def _with_os_cache(config: SeedConfig) -> SeedConfig:
    """Let nothing be synced in some seeds, whose faults are none that need it."""
    seed = config.seed
    apart = {*DAMAGE, Fault.MEMBERS, Fault.MAJORITY_LOST}
    if config.nodes < 3 or apart & config.periods_ns.keys() or is_big(seed):
        return config
    if stream(seed, "os-cache").random() >= OS_CACHE_SHARE:
        return config
    kept = {each: ns for each, ns in config.periods_ns.items() if each in UNDER_OS_CACHE}
    reboot_ns = MS_NS * draw_period_ms(seed, Fault.REBOOT)
    return msgspec.structs.replace(
        config,
        os_cache=True,
        periods_ns={**kept, Fault.REBOOT: reboot_ns},
        heal_majority=False,
    )


def _draw_config(seed: int) -> SeedConfig:
    random = stream(seed, "config")
    big = is_big(seed)
    nodes = 7 if big else random.choices((1, 2, 3, 4, 5, 7), (3, 5, 50, 10, 25, 3))[0]
    faults = draw_faults(seed, nodes)
    damaged = not DAMAGE.isdisjoint(faults)
    changing = not damaged and nodes > 2 and stream(seed, "members").random() < MEMBERS_SHARE
    if changing:
        faults.append(Fault.MEMBERS)
    losing = not damaged and nodes > 2 and stream(seed, "lost").random() < LOST_SHARE
    if losing:
        faults.append(Fault.MAJORITY_LOST)
    quiet = 8 if big else 1
    return SeedConfig(
        seed=seed,
        nodes=nodes,
        fault_ns=(600 if big else 20) * SECOND_NS,
        core=_draw_core(random),
        segment_bytes=random.choice((4, 4, 8, 16, 64)) * KIB,
        coalesce=random.random() < 0.5,
        network=_draw_network(random, stream(seed, "links")),
        periods_ns={fault: quiet * MS_NS * draw_period_ms(seed, fault) for fault in faults},
        appends_per_s=random.choice((5, 15, 30)) / (4 if big else 1),
        reads_per_s=random.choice((0, 3, 8)) / (4 if big else 1),
        value_bytes_max=random.choice((16, 100, 1_000, 3_000)),
        disk_ns=random.choice((MS_NS // 5, MS_NS, 4 * MS_NS, 15 * MS_NS)),
        victims=(nodes - 1) // 2 if damaged else 0,
        wrong_clocks=_draw_wrong_clocks(stream(seed, "wrong clocks"), nodes),
        drift_ppm=random.choice((0, 0, 200, 20_000, 50_000)),
        # A shard that was made smaller may need everybody who is left.
        heal_majority=not damaged and random.random() < 0.3 and not changing and not losing,
        broker=_draw_sharing(
            _draw_broker(stream(seed, "broker"), stream(seed, "later"), 4 if big else 1),
            stream(seed, "sharing"),
        ),
    )


def _draw_wrong_clocks(random: Random, nodes: int) -> int:
    """Draw a minority, as a rule; nobody can be right against a majority."""
    return nodes if random.random() < ALL_CLOCKS_SHARE else (nodes - 1) // 2


def _draw_broker(random: Random, later: Random, quiet: int) -> BrokerConfig | None:
    """Draw the topic store for two seeds of five, from a stream of its own."""
    if random.random() >= BROKER_SHARE:
        return None
    bad = random.random() < 0.7
    return BrokerConfig(
        range_body_bytes=random.choice((2_000, 10_000, 40_000)),
        range_postings=random.choice((5, 20, 100)),
        snapshot_chunk_bytes=random.choice((1, 200, 32 * KIB)),
        topics=("orders", "events")[: random.randint(1, 2)],
        queues_max=random.choice((1, 2, 4)),
        retention_ms=random.choice((0, 0, 5_000)),
        retention_bytes=random.choice((0, 0, 1_500)),
        codec=random.choice(("none", "none", "zstd", "lz4")),
        calls=CallsConfig(
            mean_ns=random.choice((MS_NS // 2, 2 * MS_NS, 20 * MS_NS)),
            lost=random.choice((0.01, 0.1)) if bad else 0.0,
            late=random.choice((0.02, 0.15)) if bad else 0.0,
        ),
        value_bytes_max=random.choice((10, 100, 1_000)),
        plain_per_s=random.choice((0, 1, 3)) / quiet,
        idempotent_per_s=random.choice((1, 4, 10)) / quiet,
        producers=random.randint(1, 3),
        in_flight_max=random.choice((1, 3, 64)),
        crashes_per_s=random.choice((0, 0.1)),
        readers=random.randint(0, 2),
        reads_per_s=random.choice((1, 5)) / quiet,
        groups=("billing", "audit")[: random.randint(0, 2)],
        members=random.randint(1, 3),
        session_ms=random.choice((1_000, 3_000)),
        member_sleeps=random.choice((0.0, 0.02, 0.1)),
        member_leaves=random.choice((0.0, 0.01, 0.05)),
        commits_late=random.choice((0.0, 0.05, 0.2)),
        administration_per_s=random.choice((0.2, 1, 3)) / quiet,
        delayed=later.choice((0.0, 0.1, 0.5)),
        cancels=later.choice((0.1, 0.5)),
    )


def _draw_sharing(config: BrokerConfig | None, random: Random) -> BrokerConfig | None:
    """Draw how groups share their queues out, and who has a fixed name."""
    if config is None or not config.groups:
        return config
    return msgspec.structs.replace(
        config,
        assignors=tuple(random.choice(("", *ASSIGNORS, COOPERATIVE)) for _ in config.groups),
        members=max(2, config.members),
        static_members=random.choice((0, 0, 1, 2)),
    )


def _draw_core(random: Random) -> CoreConfig:
    return CoreConfig(
        message_bytes_max=random.choice((200, 1_000, 4_000, 1 << 20)),
        window_messages_max=random.choice((1, 2, 3, 16)),
        uncommitted_bytes_max=random.choice((2_000, 20_000, UNCOMMITTED_BYTES_MAX)),
        tail_bytes_max=random.choice((500, 4_000, 30_000, TAIL_BYTES_MAX)),
    )


def _draw_network(random: Random, links: Random) -> NetworkConfig:
    return NetworkConfig(
        replay=links.choice((0, 0, 0.005, 0.05)),
        bit_flip=links.choice((0, 0, 0.001, 0.01)),
        bytes_per_s=links.choice((0, 0, 0, 20_000, 200_000, 2_000_000)),
        encoded=links.choice((0.02, 0.02, 0.02, 0.1, 0.1, 1.0)),
        loss=random.choice((0, 0, 0.005, 0.05, 0.2)),
        duplication=random.choice((0, 0, 0.02, 0.2)),
        delay_min_ns=random.choice((MS_NS // 10, MS_NS, 10 * MS_NS)),
        delay_mean_ns=random.choice((MS_NS // 2, 5 * MS_NS, 40 * MS_NS)),
        spike=random.choice((0, 0, 0.01, 0.05)),
        ordered=random.random() < 0.5,
    )
