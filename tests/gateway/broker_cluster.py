"""Three real nodes that serve gRPC, and clients of the one that leads and of one that does not."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import grpc

from raftlog.testing.cluster import LocalCluster
from raftlog.wire.schema import client
from tests.gateway.stubs import PATIENCE_S, Stubs, dialled

START_S: Final = 30.0
POLL_S: Final = 0.05

Until = Callable[[client.NodeStatus], bool]


@asynccontextmanager
async def leader_and_follower(cluster: LocalCluster) -> AsyncIterator[tuple[Stubs, Stubs]]:
    """Give clients of two nodes, once there is a leader that both know."""
    first, second, third = cluster.addresses
    async with dialled(first.grpc) as one, dialled(second.grpc) as other:
        leader = (await led(one)).leader
        assert (await led(other)).leader == leader
        if leader == first.node:
            yield one, other
        elif leader == second.node:
            yield other, one
        else:
            async with dialled(third.grpc) as last:
                yield last, one


def knows_a_leader(status: client.NodeStatus) -> bool:
    """Whether a node can serve everything."""
    return bool(status.leader)


async def led(stubs: Stubs, until: Until = knows_a_leader) -> client.NodeStatus:
    """Wait until a node runs and says what is waited for; return its status."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            status: client.NodeStatus = await stubs.Status(
                client.GetStatus(), timeout=PATIENCE_S, wait_for_ready=True
            )
        except grpc.RpcError:
            pass
        else:
            if until(status):
                return status
        await asyncio.sleep(POLL_S)
    raise AssertionError(f"not {until.__name__} within {START_S} s")


async def until_led(address: str) -> None:
    """Wait until the node at ``address`` serves gRPC and knows a leader."""
    async with dialled(address) as stubs:
        await led(stubs)
