"""Findings of a review: each test fails as long as its finding stands."""

from contextlib import suppress

import pytest

from raftlog.base.errors import (
    BadDelay,
    StaleLease,
    Unavailable,
)
from raftlog.client.client import Client
from raftlog.client.queue_message import Retry
from raftlog.wire.frame import Method
from tests.client.fake_cluster import refused
from tests.client.test_acknowledging import left, one_message
from tests.client.test_atomic import visible

pytestmark = pytest.mark.asyncio


async def test_a_handler_that_failed_is_not_acknowledged_if_its_give_back_failed() -> None:
    async with one_message() as (cluster, client, _, _):
        short = Client(cluster.seeds, timeout=0.3)
        async with short, short.queue_consumer("work2", "orders", retry=[0]) as holder:
            (mine,) = await holder.receive()
            cluster.fault(Method.QUEUE_RETURN, *[refused(Unavailable("not yet"))] * 1000)
            with suppress(Exception):
                async with short.atomic() as tx:
                    with suppress(ZeroDivisionError):
                        async with mine.process():
                            tx.ack(mine)
                            tx.send("out", b"half done")
                            raise ZeroDivisionError
            cluster.heal()
            found = await client.queue_groups.describe("work2")
            assert (visible(cluster), found.in_flight) == ([], 1)


async def test_a_retry_with_a_bad_delay_is_not_acknowledged() -> None:
    """It has failed: the transaction round it is refused, as for any other failure."""
    async with one_message() as (cluster, client, _, message):
        with suppress(StaleLease):
            async with client.atomic() as tx:
                with suppress(BadDelay):
                    async with message.process():
                        tx.ack(message)
                        tx.send("out", b"half done")
                        raise Retry(delay=-1)
        assert (visible(cluster), await left(client)) == ([], (1, 0))
