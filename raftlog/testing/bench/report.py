"""What a run is asked for, and what it reports (ruling 35)."""

from typing import Literal, get_args

import msgspec

from raftlog.base.errors import Refused
from raftlog.base.limits import BATCH_RECORDS_MAX, QUEUES_MAX

Scenario = Literal[
    "send",
    "consume",
    "embedded",
    "failover",
    "restart",
    "rejoin",
    "lag",
    "delayed",
    "queue",
    "transactions",
    "atomic",
    "memory",
]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a scenario is run. What a scenario does not use is ignored.

    Attributes:
        size: Bytes of a record's value.
        in_flight: Sends, or batches, that are awaited at once.
        batch: Records in one batch; 0 sends records one by one.
        queues: Queues that are sent to in turn; 0: a topic as a user makes it, and the
            producer's own choice.
        duration_s: Seconds that are measured (0: the scenario's own measure).
        count: Records or batches to send, leaders to kill; 0: by time. Of ``delayed``: what is
            pending meanwhile; of ``queue``: messages to drain; of ``atomic``: to process.
        connect: Client addresses of a running cluster; none: three own processes.
        mode: How the leader is lost: ``kill`` or ``cut``.
        source: Where a consumer's records come from: ``memory`` or ``disk``.
        log_mib: Size of the log of ``restart``, ``rejoin`` and of ``consume`` from disk.
        rate: Sends a second while a node joins anew or lags, or of ``queue``; deliveries of
            ``delayed``.
    """

    size: int = 100
    in_flight: int = 64
    batch: int = 0
    queues: int = 0
    duration_s: float = 20.0
    count: int = 0
    connect: tuple[str, ...] = ()
    mode: Literal["kill", "cut"] = "kill"
    source: Literal["memory", "disk"] = "memory"
    log_mib: int = 1024
    rate: int = 1_000

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if self.size < 8:
            raise Refused("--size: a value carries its number, so at least 8 bytes")
        if self.in_flight < 1:
            raise Refused("--in-flight: at least 1")
        if not 0 <= self.batch <= BATCH_RECORDS_MAX:
            raise Refused(f"--batch: 0 to {BATCH_RECORDS_MAX} records")
        if not 0 <= self.queues <= QUEUES_MAX // 2:
            raise Refused(f"--queues: 0 to {QUEUES_MAX // 2}")
        if self.rate < 1:
            raise Refused("--rate: at least 1 a second")
        if self.duration_s <= 0 and self.count <= 0:
            raise Refused("a run ends by --duration or by --count; one of them must be set")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run. A figure that the scenario does not have is None."""

    scenario: str
    size: int
    in_flight: int
    records: int
    seconds: float
    records_per_s: float
    mb_per_s: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    p99_ratio: float | None = None
    restart_s: float | None = None
    durability: str
    nodes: int
    verified: bool
    fdatasyncs: dict[str, int] = {}
    bytes_written: dict[str, dict[str, int]] = {}
    record_batches: int
    loop: str
    cpu_s: dict[str, float] = {}
    waits: dict[str, int] = {}
    memory_mb: float | None = None
    notes: dict[str, int | float | str] = {}


def rates(records: int, size: int, seconds: float) -> tuple[float, float]:
    """Return records and megabytes (10^6) per second."""
    if seconds <= 0:
        return 0.0, 0.0
    return round(records / seconds, 1), round(records * size / seconds / 1e6, 2)
