"""What takes space and who keeps the log, in words and as data."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from raftlog.base.ids import NodeId
from raftlog.cli.cluster import as_data, show
from raftlog.cli.space import hold_data, hold_text, space_data, space_text
from raftlog.client.log_space import LogHold, LogSpace, TopicBytes
from raftlog.server.observation import ClusterView, NodeView

HOLD = LogHold(1, 811, 1, "audit", 2, None, None, datetime(2026, 1, 2, 3, tzinfo=UTC))
SPACE = LogSpace(
    tuple(
        TopicBytes(name, size << 20)
        for name, size in (("audit", 800), ("a", 3), ("b", 2), ("c", 1))
    ),
    807 << 20,
    HOLD,
)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "queue 2 of audit (kept forever)"),
        ({"queues": 3}, "queue 2 of audit (kept forever) and 2 other queues"),
        ({"queues": 2}, "queue 2 of audit (kept forever) and 1 other queue"),
        (
            {"hidden": 1_000},
            "queue 2 of audit (kept forever, 1,000 of its batches there not visible yet)",
        ),
        (
            {"retention": timedelta(hours=72), "retention_bytes": 1 << 30},
            "queue 2 of audit (kept 72h, at most 1GiB of each queue)",
        ),
    ],
)
def test_who_keeps_the_log_is_one_sentence(changes: dict[str, object], text: str) -> None:
    """With the rule that makes it so."""
    hold = msgspec.structs.replace(HOLD, **changes)
    assert hold_text(hold) == f"the log is kept from entry 1 on by {text}"


def test_data_has_every_fact() -> None:
    """Null: nothing keeps the log."""
    assert hold_data(HOLD) == {
        "first_index": 1,
        "last_index": 811,
        "queues": 1,
        "topic": "audit",
        "queue": 2,
        "retention_ms": None,
        "retention_bytes": None,
        "newest": "2026-01-02T03:00:00+00:00",
        "hidden": 0,
    }
    assert hold_data(None) is None
    assert space_data(SPACE)["largest"] == [
        {"topic": each.topic, "bytes": each.bytes} for each in SPACE.largest
    ]


def test_a_person_is_told_the_largest_three() -> None:
    """And nothing of a shard without topics."""
    assert space_text(SPACE)[0] == (
        "807.0 MiB of records; the largest topics: audit 800.0 MiB, a 3.0 MiB, b 2.0 MiB"
    )
    assert space_text(LogSpace((), 0, None)) == []


def test_the_status_of_a_cluster_has_the_space_of_each_shard(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As its leader sees it."""
    n1, n2 = NodeId("n1"), NodeId("n2")
    view = ClusterView(
        (
            NodeView(n1, 0, "", "leader", term=1, leader=n1, space=SPACE),
            NodeView(n2, 0, "", "follower", term=1, leader=n1),
        )
    )
    data = as_data(view, {})
    assert data["shards"] == [{"shard": 0, **space_data(SPACE)}]
    show(view, {})
    assert "shard 0: the log is kept from entry 1 on by queue 2" in capsys.readouterr().out
