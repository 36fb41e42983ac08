"""Review r2: schedules in which the spool loses or doubles."""

import asyncio
from typing import Any

import pytest

from chaos.sim.disk import SimDisk
from raftlog import errors
from raftlog.base.clock import SystemClock
from raftlog.wire.frame import Method
from tests.client.fake_cluster import fake_cluster
from tests.spool.test_spool import spool_on

pytestmark = pytest.mark.asyncio


async def test_a_machine_that_slept_for_a_week_in_an_append_does_not_send_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line goes, then the machine sleeps: the 5 s of one question do not pass in sleep."""
    disk = SimDisk()
    passed_ms = 0

    class Later(SystemClock):
        def wall_ms(self) -> int:
            return super().wall_ms() + passed_ms

    def stored_and_asleep(_node: Any, request: Any, handler: Any) -> None:
        nonlocal passed_ms
        connection, request._connection = request._connection, None
        handler(request)

        def wakes() -> None:
            nonlocal passed_ms
            passed_ms = 8 * 24 * 3600 * 1000
            connection.abort()

        asyncio.get_running_loop().call_later(0.05, wakes)

    monkeypatch.setattr("tests.client.fake_cluster.SystemClock", Later)
    async with fake_cluster(1, orders=1) as cluster:
        cluster.fault(Method.APPEND, stored_and_asleep)
        async with spool_on(disk, cluster.seeds, now_ms=Later().wall_ms) as spool:
            await spool.send("orders", b"a", queue=0)
            try:
                await spool.flush(timeout=5)
            except errors.OutcomeUnknown as error:
                print(error)
        print(cluster.values("orders"))
        assert cluster.values("orders") == [[b"a"]]
