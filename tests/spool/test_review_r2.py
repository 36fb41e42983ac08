"""Review r2: schedules in which the spool loses or doubles."""

import asyncio
from typing import Any, cast

import pytest

from chaos.sim.disk import SimDisk
from raftlog import errors
from raftlog.base.clock import SystemClock
from raftlog.spool.forwarder import DECIDED_MS_MAX
from raftlog.wire.frame import Method
from raftlog.wire.schema import client as messages
from tests.client.fake_cluster import fake_cluster, until
from tests.spool.test_spool import spool_on

pytestmark = pytest.mark.asyncio


def silent_for(stored: set[int], cluster: Any) -> Any:
    """No answer; what is for a queue at one of these places is carried out."""

    def fault(_node: Any, request: Any, handler: Any) -> None:
        request._connection = None
        numbers = cluster.machine.topics.get("orders").queues
        if numbers.index(cast("messages.AppendBatch", request.message).queue) in stored:
            handler(request)

    return fault


@pytest.mark.parametrize("answer", [True, False])
async def test_settling_one_batch_by_hand_settles_no_other(*, answer: bool) -> None:
    """Two queues; the error is about one of them, the other one can be asked."""
    disk = SimDisk()
    now_ms = 1_800_000_000_000
    at_first, at_second = (b"a", b"b")
    async with fake_cluster(1, orders=2) as cluster:
        # answer=True: queue 0 has its batch (and forgot it), queue 1 has not.
        silent = silent_for({0} if answer else {1}, cluster)
        cluster.fault(Method.APPEND, silent, silent)
        async with spool_on(disk, cluster.seeds, now_ms=lambda: now_ms) as spool:
            await asyncio.gather(
                spool.send("orders", at_first, queue=0), spool.send("orders", at_second, queue=1)
            )
            await until(lambda: cluster.count(Method.APPEND) == 2)
            await asyncio.sleep(0.05)
        print("at the cut", cluster.values("orders"))
        if answer:
            rows = cluster.machine.producers
            rows._forget(next(iter(rows.table.rows)))  # queue 0 has forgotten
        now_ms += DECIDED_MS_MAX + 1
        async with spool_on(disk, cluster.seeds, now_ms=lambda: now_ms) as spool:
            with pytest.raises(errors.OutcomeUnknown, match="queue 0") as error:
                await spool.flush(timeout=5)
            print(error.value)
            # somebody looks into queue 0, as the error says, and answers truly
            await spool.settle_by_hand("orders", stored=answer)
            await spool.flush(timeout=5)
        print(cluster.values("orders"))
        assert cluster.values("orders") == [[at_first], [at_second]]


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
