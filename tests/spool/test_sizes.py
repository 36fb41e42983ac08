"""Records at the limit of what a batch takes: what was spooled can be sent."""

import pytest

from chaos.sim.disk import SimDisk
from raftlog import errors
from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.client.packing import encode_records
from raftlog.wire.batch import Record
from tests.client.fake_cluster import fake_cluster
from tests.spool.test_spool import spool_on

pytestmark = pytest.mark.asyncio
LARGEST = BATCH_BYTES_MAX - len(encode_records([Record(b"", b"k", (), 1)]))
"""Bytes of a record's value, beside its key and the time of its sending."""


async def test_what_was_spooled_fits_into_the_batch_that_is_made_of_it() -> None:
    """It has the time at which it was spooled: that takes room, too.

    A record without that room would end the sending, for all topics, whenever it is tried.
    """
    async with fake_cluster(1, orders=1) as cluster, spool_on(SimDisk(), cluster.seeds) as spool:
        for more in range(1, 9):
            with pytest.raises(errors.RecordTooLarge):
                await spool.send("orders", bytes(LARGEST + more), key=b"k")
        await spool.send("orders", bytes(LARGEST), key=b"k")
        await spool.flush(timeout=10)
        assert [len(each) for each in cluster.values("orders")[0]] == [LARGEST]


async def test_one_that_is_too_large_all_the_same_holds_up_its_topic_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An earlier version has spooled it: it can be taken out, and other topics go on."""
    async with (
        fake_cluster(1, orders=1, other=1) as cluster,
        spool_on(SimDisk(), cluster.seeds) as spool,
    ):
        with monkeypatch.context() as earlier:
            earlier.setattr("raftlog.spool.spool.check_size", lambda _: None)
            await spool.send("orders", bytes(LARGEST + 1), key=b"k")
        with pytest.raises(errors.RecordTooLarge):
            await spool.flush(timeout=10)
        other = await spool.send("other", b"v")
        await other.stored(timeout=5)
        assert isinstance(spool.status.stuck["orders"], errors.RecordTooLarge)
        async with spool.take_out("orders") as taken:
            assert [len(each.record.value or b"") for each in taken] == [LARGEST + 1]
        await spool.flush(timeout=5)
        assert cluster.values("orders") == [[]]
