"""Limits of the product, made small for one run, so that edges come within seconds.

They are constants and the product has no switch for them: a shard whose replicas
cut their index at different points would not be one. In a run all replicas are
in this process, so one assignment changes them all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from chaos.sim.events import MS_NS
from chaos.sim.swarm import BrokerConfig
from raftlog.broker import decisions, hidden, index, leasing, staging, table, transactions
from raftlog.node import yielding
from raftlog.service import checks, copying_forward, relocating, snapshot

Limits = list[tuple[ModuleType, str, int]]


@contextmanager
def small_limits(config: BrokerConfig | None) -> Iterator[None]:
    """Set what is small in every run, and what ``config`` says, while the context lasts."""
    kept: Limits = []
    try:
        for module, name, value in _limits_of(config):
            kept.append((module, name, getattr(module, name)))
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


def limit_of(module: ModuleType, name: str) -> int:
    """Return a limit as it is in this run: where the product looks for it."""
    found: int = getattr(module, name)
    return found


def _limits_of(config: BrokerConfig | None) -> Limits:
    limits: Limits = [
        # Longer than a disk may hang: who was well for so long has not hung meanwhile.
        (yielding, "PREFER_STEADY_NS", 1_500 * MS_NS),
        (yielding, "YIELD_WAIT_NS_MIN", 200 * MS_NS),
        (yielding, "YIELD_WAIT_NS_MAX", 5_000 * MS_NS),
    ]
    if config is not None:
        limits += [
            (index, "RANGE_BODY_BYTES", config.range_body_bytes),
            (index, "RANGE_POSTINGS", config.range_postings),
            (table, "CHUNK_BYTES", config.snapshot_chunk_bytes),
            (hidden, "RUN_ROWS", 2),
            # Time stands still within a turn: else a snapshot would be one piece of work.
            (snapshot, "SLICE_NS", 0),
            (relocating, "SOON_MS", 2_000),
            (relocating, "OLD_MS", 1_000),
            (relocating, "LONG_MS", 4_000),
            (copying_forward, "OLD_MS", 500),
            (copying_forward, "LITTLE_SHARE", 2),
        ]
    if config is not None and config.letters is not None:
        limits.append((leasing, "LEASE_GRACE_MS_MIN", config.letters.jobs.grace_ms))
    if config is not None and config.leases is not None:
        limits.append((leasing, "LEASE_GRACE_MS_MIN", config.leases.grace_ms))
    if config is not None and config.staged is not None:
        limits += [
            (staging, "STAGED_MS_MAX", config.staged.keep_ms),
            (staging, "STAGED_ROWS_MAX", config.staged.rows_max),
        ]
    if config is not None and config.halves is not None:
        work = config.halves
        limits += [
            (transactions, "CHECK_FIRST_MS", work.first_ms),
            (transactions, "CHECK_AGAIN_MS", work.again_ms),
            (transactions, "CHECKS_MAX", work.checks),
            (checks, "CHECKS_MAX", work.checks),
            (checks, "ASK_AGAIN_NS", work.ask_again_ms * MS_NS),
            (decisions, "DECISIONS_KNOWN_MS", work.known_ms),
        ]
    return limits
