"""Names of half a MiB: refused like other ones that nobody has, and harmless to the node."""

from typing import Any

import pytest

from raftlog.base.errors import GroupNotFound, TopicNotFound, UnknownMember
from raftlog.client.channel import Channel
from raftlog.wire.address import parse_address
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups, topics
from tests.client.fake_cluster import fake_cluster

pytestmark = pytest.mark.asyncio
LONG = "\n" * 500_000


@pytest.mark.parametrize(
    ("method", "request_", "answer", "error"),
    [
        (
            *(Method.TOPIC_DESCRIBE, topics.DescribeTopic(name=LONG)),
            *(topics.TopicDescription, TopicNotFound),
        ),
        (
            *(Method.GROUP_DESCRIBE, groups.DescribeGroup(group=LONG)),
            *(groups.GroupDescription, GroupNotFound),
        ),
        (
            *(Method.GROUP_HEARTBEAT, groups.HeartbeatGroup(group=LONG, member="m")),
            *(groups.GroupAssignment, UnknownMember),
        ),
    ],
)
async def test_a_refusal_that_repeats_a_long_name_is_an_answer(
    method: Method, request_: Any, answer: Any, error: type[Exception]
) -> None:
    """It is cut: a node would end that tries to send more than a frame takes."""
    async with fake_cluster(1) as cluster:
        channel = await Channel.connect(*parse_address(cluster.seeds[0]))
        with pytest.raises(error):
            await channel.call(method, request_, answer, timeout_s=5)
        await channel.aclose()
