"""What all workloads share: outcomes are noted, and whoever ends a run ends its clients."""

import asyncio

import pytest

from chaos.check.client_history import Outcome, Records
from chaos.live.workloads import EVERYBODY, halves
from chaos.live.workloads.sending import noted
from chaos.live.world import World
from raftlog.base.errors import Closed, OutcomeUnknown, RaftlogError, Throttled
from raftlog.base.ids import Index, Offset, Term
from raftlog.client.receipts import Receipt

TELLER = "tests.live.teller"
END_S = 10.0
"""Closing a consumer takes up to 5 s while nobody answers."""


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OutcomeUnknown("no answer in time"), Outcome.UNKNOWN),
        (Closed("the producer was closed"), Outcome.UNKNOWN),
        (Throttled("too much", 1.0), Outcome.FAILED),
    ],
)
async def test_what_is_not_acknowledged_is_unknown_unless_somebody_says_never(
    world: World, error: RaftlogError, outcome: Outcome
) -> None:
    records = Records("orders")
    number = records.begin(0, 0.0)
    sending: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    sending.set_exception(error)
    assert await noted(world, records, number, sending) is None
    assert records.outcomes[number] == outcome


@pytest.mark.asyncio
async def test_a_receipt_is_noted(world: World) -> None:
    records = Records("orders")
    number = records.begin(0, 0.0)
    sending: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    receipt = Receipt("orders", 1, Offset(7), Term(3), Index(9), "fsync")
    sending.set_result(receipt)
    assert await noted(world, records, number, sending) == receipt
    assert records.outcomes[number] == Outcome.OK
    assert (records.queues[number], records.offsets[number]) == (1, 7)


@pytest.mark.long
@pytest.mark.asyncio
@pytest.mark.parametrize("name", EVERYBODY)
async def test_a_workload_that_is_cancelled_ends(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A run that is interrupted waits for each of them before it takes the cluster's files."""
    monkeypatch.setattr(halves, "PROCESS", TELLER)
    before = asyncio.all_tasks()
    running = asyncio.create_task(EVERYBODY[name](world).run())
    await asyncio.sleep(0.2)
    running.cancel()
    ended, _ = await asyncio.wait([running], timeout=END_S)
    assert ended
    assert running.cancelled()
    assert asyncio.all_tasks() == before
