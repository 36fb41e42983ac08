"""Review r2: schedules in which the relay stores a message twice."""

from pathlib import Path
from typing import Any

import pytest

from raftlog import errors
from raftlog.base.clock import SystemClock
from raftlog.sql import Sqlite
from tests.client.fake_cluster import fake_cluster
from tests.sql.test_outbox import put, relay_of

pytestmark = pytest.mark.asyncio
DAY_MS = 24 * 3600 * 1000


class Later(SystemClock):
    """The cluster's."""

    passed_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + Later.passed_ms


@pytest.fixture(autouse=True)
def _later(monkeypatch: pytest.MonkeyPatch) -> None:
    Later.passed_ms = 0
    monkeypatch.setattr("tests.client.fake_cluster.SystemClock", Later)


@pytest.mark.parametrize("stored", [False, True])
async def test_a_batch_that_is_under_way_is_not_settled_by_hand(
    tmp_path: Path, *, stored: bool
) -> None:
    """Somebody settles what was left behind, twice: the second time another batch is there."""
    path = tmp_path / "shop.db"
    outbox = put(path, b"a")
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path))) as relay,
    ):
        append, calls = relay._cluster.append, []

        async def under_way(queue: int, data: Any) -> Any:
            if calls:
                return await append(queue, data)
            calls.append(outbox.settle_by_hand("orders", 0, stored=stored))
            if stored:
                raise errors.UnknownProducer("it was silent for long")
            return await append(queue, data)

        relay._cluster.append = under_way  # type: ignore[method-assign]
        await relay.run(once=True)
        print(calls, cluster.values("orders"), outbox.counts())
        assert cluster.values("orders") == [[b"a"]]
