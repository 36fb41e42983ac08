"""Limits of the product, made small for one run, so that edges come within seconds.

They are constants and the product has no switch for them: a shard whose replicas
cut their index at different points would not be one. In a run all replicas are
in this process, so one assignment changes them all.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from chaos.sim.swarm import BrokerConfig
from raftlog.broker import index, table
from raftlog.service import snapshot


@contextmanager
def small_limits(config: BrokerConfig | None) -> Iterator[None]:
    """Cut index ranges and snapshots as ``config`` says, while the context lasts."""
    if config is None:
        yield
        return
    kept = (index.RANGE_BODY_BYTES, index.RANGE_POSTINGS, table.CHUNK_BYTES, snapshot.SLICE_NS)
    index.RANGE_BODY_BYTES = config.range_body_bytes  # type: ignore[misc]  # see above
    index.RANGE_POSTINGS = config.range_postings  # type: ignore[misc]
    table.CHUNK_BYTES = config.snapshot_chunk_bytes  # type: ignore[misc]
    # Time stands still within a turn: without this a snapshot would be one piece of work.
    snapshot.SLICE_NS = 0  # type: ignore[misc]
    try:
        yield
    finally:
        index.RANGE_BODY_BYTES, index.RANGE_POSTINGS = kept[:2]  # type: ignore[misc]
        table.CHUNK_BYTES, snapshot.SLICE_NS = kept[2:]  # type: ignore[misc]
