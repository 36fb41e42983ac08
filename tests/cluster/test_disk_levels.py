"""A disk that fills up under real nodes: who is refused, who is not, and what comes after."""

from pathlib import Path

import pytest

from raftlog import Client
from raftlog.base.errors import DiskFull
from raftlog.testing.cluster import LocalCluster

pytestmark = pytest.mark.asyncio

FULL = "disk: {scarce_percent: 1, full_percent: 1, plenty_mib: 1073741824}"
"""Whatever disk this runs on has more of it in use."""


@pytest.mark.long
async def test_a_full_disk_refuses_records_and_topics_but_no_reader(tmp_path: Path) -> None:
    """And takes them again when there is room; the reserve is where it should be."""
    with LocalCluster(tmp_path, nodes=1) as cluster:
        async with Client(*cluster.seeds) as client:
            await client.topics.create("orders", queues=1)
            await client.send("orders", b"before")
        assert (tmp_path / "data" / "n1" / "reserve").exists()
    with LocalCluster(tmp_path, cluster.addresses, (FULL,)) as cluster:
        async with Client(*cluster.seeds, timeout=10) as client:
            with pytest.raises(DiskFull):
                await client.send("orders", b"refused")
            with pytest.raises(DiskFull):
                await client.topics.create("more")
            async with client.reader("orders", start="earliest", follow=False) as reader:
                assert [message.value async for message in reader] == [b"before"]
            async with client.consumer("billing", ["orders"], start="earliest") as consumer:
                message = await anext(aiter(consumer))
                assert message.value == b"before"
                await consumer.commit()
    with LocalCluster(tmp_path, cluster.addresses) as cluster:
        async with Client(*cluster.seeds) as client:
            assert (await client.send("orders", b"after")).offset == 1
