"""The bars, as data: what each figure must reach on two cores (ruling 35's definitions).

Three nodes and the load generator share the two cores; every acknowledgement
means fsynced on a majority.
"""

from typing import Final, Literal

import msgspec


class Bar(msgspec.Struct, frozen=True):
    """One figure of one scenario, and the limit that it is held to."""

    figure: str
    limit: float
    unit: str
    at: Literal["least", "most"]

    def met(self, value: float | None) -> bool:
        """Whether a measured value is good enough; nothing measured is not."""
        if value is None:
            return False
        return value >= self.limit if self.at == "least" else value <= self.limit

    def __str__(self) -> str:
        """Show the limit as it is written in the documentation."""
        sign = ">=" if self.at == "least" else "<="
        return f"{sign} {self.limit:,.6g} {self.unit}".strip()


class Row(msgspec.Struct, frozen=True):
    """One line of the table: a scenario with its options, and its bars."""

    title: str
    scenario: str
    options: dict[str, int | float | str]
    bars: tuple[Bar, ...]


def at_least(figure: str, limit: float, unit: str) -> Bar:
    """Make a bar that a figure must reach."""
    return Bar(figure, limit, unit, "least")


def at_most(figure: str, limit: float, unit: str) -> Bar:
    """Make a bar that a figure must stay below."""
    return Bar(figure, limit, unit, "most")


ROWS: Final = (
    Row(
        "send one at a time, 100 B",
        "send",
        {"size": 100, "in_flight": 1},
        (at_most("p50_ms", 0.65, "ms"), at_most("p99_ms", 1.5, "ms")),
    ),
    Row(
        "64 in flight, 1 KiB, each acked by itself",
        "send",
        {"size": 1024, "in_flight": 64},
        (at_least("records_per_s", 50_000, "/s"),),
    ),
    Row(
        "1024 in flight, 100 B, each acked by itself",
        "send",
        {"size": 100, "in_flight": 1024},
        (at_least("records_per_s", 200_000, "/s"),),
    ),
    Row(
        "batches of 64 KiB, 16 in flight",
        "send",
        {"size": 1024, "in_flight": 16, "batch": 64},
        (at_least("mb_per_s", 150, "MB/s"),),
    ),
    Row(
        "consume from memory, batches of 100 B records",
        "consume",
        {"size": 100, "batch": 640, "source": "memory"},
        (at_least("records_per_s", 1_000_000, "/s"),),
    ),
    Row(
        "consume from disk, batches of 64 KiB",
        "consume",
        {"size": 1024, "batch": 64, "source": "disk"},
        (at_least("mb_per_s", 400, "MB/s"),),
    ),
    Row(
        "embedded, one node, fsync, 1024 in flight, 100 B",
        "embedded",
        {"size": 100, "in_flight": 1024},
        (at_least("records_per_s", 200_000, "/s"),),
    ),
    Row(
        "64 in flight, 100 B, over 10 000 queues",
        "send",
        {"size": 100, "in_flight": 64, "queues": 10_000},
        (at_least("records_per_s", 20_000, "/s"),),
    ),
    Row(
        "leader killed with -9: first ack after it",
        "failover",
        {"mode": "kill"},
        (at_most("p50_ms", 350, "ms"), at_most("p99_ms", 1500, "ms")),
    ),
    Row(
        "leader cut off, no RST: first ack after it",
        "failover",
        {"mode": "cut"},
        (at_most("p50_ms", 1200, "ms"), at_most("p99_ms", 2500, "ms")),
    ),
    Row(
        "restart with 1 GiB of 100 B records alone",
        "restart",
        {"size": 100, "batch": 1},
        (at_most("seconds", 2.0, "s"),),
    ),
    Row(
        "restart with 1 GiB in batches of 64 KiB",
        "restart",
        {"size": 1024, "batch": 64},
        (at_most("seconds", 2.0, "s"),),
    ),
    Row(
        "a wiped node joins anew, 1000 sends/s of 1 KiB meanwhile",
        "rejoin",
        {"size": 1024, "batch": 64, "rate": 1_000},
        (at_most("p99_ratio", 2.0, "x quiet"),),
    ),
    Row(
        "a follower is paused, then slow, 1000 sends/s of 1 KiB meanwhile",
        "lag",
        {"size": 1024, "rate": 1_000},
        (at_most("p99_ratio", 1.5, "x healthy"),),
    ),
    Row(
        "delayed: 5000 deliveries/s with 1 000 000 pending of 100 B, restart with them",
        "delayed",
        {"size": 100, "rate": 5_000},
        (at_most("p99_ms", 50, "ms"), at_most("restart_s", 5.0, "s")),
    ),
    Row(
        "queue-style group: receive + ack of 100 B; 1000 sends/s to their handlers",
        "queue",
        {"size": 100, "in_flight": 1024, "batch": 64, "rate": 1_000},
        (at_least("records_per_s", 20_000, "/s"), at_most("p50_ms", 5, "ms")),
    ),
    Row(
        "half messages stored and committed, 100 B, 256 in flight",
        "transactions",
        {"size": 100, "in_flight": 256},
        (at_least("records_per_s", 5_000, "/s"),),
    ),
    Row(
        "memory per node, idle",
        "memory",
        {},
        (at_most("memory_mb", 150, "MB"),),
    ),
)
