"""What a request has made is freed with its answer, and does not wait for the collector.

A leader that serves readers made twelve objects of each read that only the collector found: fifty
milliseconds of a node's loop, every few seconds.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest

from raftlog.base.ids import ShardId
from raftlog.service.handlers import ClientHandlers
from raftlog.transport.server import Request
from raftlog.wire.frame import Flag, Frame, Method
from raftlog.wire.schema import client
from tests.service.test_handlers import BATCH, served
from tests.service.test_read import World

REQUESTS = 50


class _Connection:
    """Where answers go."""

    def __init__(self) -> None:
        self.flags: list[Flag] = []

    def answer(
        self, _request_id: int, _method: int, _header: bytes, _payload: object, flags: Flag
    ) -> None:
        """Keep whether it is an error."""
        self.flags.append(flags)


@pytest.fixture
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _reads(
    handlers: ClientHandlers, queue: int, connection: _Connection, offsets: Sequence[int]
) -> None:
    for number, offset in enumerate(offsets):
        asked = client.ReadBatches(queue=queue, offset=offset, bytes_max=1 << 20, wait_ms=1_000)
        frame = Frame(Method.READ, 0, number, ShardId(0), b"", b"")
        handlers.by_method[Method.READ](Request(cast("Any", connection), frame, asked))


def _at_once(world: World) -> None:
    """Every answer is there."""


def _woken(world: World) -> None:
    world.store(BATCH)
    world.scheduler.advance(2_000_000_000)  # it keeps timers that were cancelled


def _expired(world: World) -> None:
    world.scheduler.advance(2_000_000_000)


@pytest.mark.usefixtures("_without_collector")
@pytest.mark.parametrize(
    ("offset", "end"),
    [(0, _at_once), (2, _woken), (2, _expired)],
    ids=["at-once", "woken", "expired"],
)
def test_a_read_leaves_nothing_to_the_collector(offset: int, end: Callable[[World], None]) -> None:
    world, handlers, _ = served()
    world.store(BATCH)
    connection = _Connection()
    gc.collect()
    _reads(handlers, world.queue, connection, [offset] * REQUESTS)
    end(world)
    assert connection.flags == [Flag.REPLY] * REQUESTS
    assert gc.collect() < REQUESTS
