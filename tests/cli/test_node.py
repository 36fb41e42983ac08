"""What ``raftlog node`` says."""

import pytest

from raftlog.cli.node import drained_text
from raftlog.server.draining import Drained, _why_still
from raftlog.wire.schema import client


@pytest.mark.parametrize(
    ("found", "undo", "said"),
    [
        (Drained(False, (), 1), False, "n2 is drained: it leads nothing now, and may be stopped"),
        (
            Drained(False, ("n1",), 1),
            False,
            (
                "n2 is drained: it leads nothing now, and may be stopped; n1 is drained, too: "
                "stop only 1 of them at a time, because a majority must run"
            ),
        ),
        (
            Drained(False, ("n1",), 2),
            False,
            "n2 is drained: it leads nothing now, and may be stopped",
        ),
        (Drained(True), True, "n2 may lead like any other node"),
        (Drained(False), True, "n2 was not drained: it may lead like any other node"),
    ],
)
def test_what_may_be_done_after_draining(
    found: Drained,
    undo: bool,  # noqa: FBT001  (a case of a table)
    said: str,
) -> None:
    """Two drained nodes of three "may be stopped", and not both."""
    assert drained_text("n2", found, undo=undo) == said


@pytest.mark.parametrize(
    ("drained", "why"),
    [
        ([], "no other voter answers and has caught up"),
        (["n1", "n2", "n3"], "n1 and n2 are drained, too"),
        (["n1", "n3"], "n1 is drained, too, and no other voter answers and has caught up"),
    ],
)
def test_why_a_drained_node_leads_on(drained: list[str], why: str) -> None:
    """That nobody answers was said of three healthy nodes, all of them drained."""
    leader = client.NodeStatus(node="n3", voters=["n1", "n2", "n3"], drained=drained)

    assert _why_still(leader) == why
