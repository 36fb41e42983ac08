"""``raftlog transactions`` on a real node: list, commit, rollback, and what is said about it."""

import pytest

from raftlog.cli.exits import Exit
from raftlog.sync import Client
from raftlog.testing.cluster import LocalCluster
from tests.cli.conftest import Shell


def test_what_nobody_decided_is_decided_by_hand(shell: Shell, cluster: LocalCluster) -> None:
    """By the name that the list shows; safe to repeat, and not to be undone."""
    shell.text("topic", "create", "halves", "--queues", "1")
    assert shell("transactions", "list").err == "nothing is open\n"
    with Client(cluster.seeds) as client:
        producer = client.transactional_producer("b-1", group="b")
        first, second = producer.half("halves", b"a"), producer.half("halves", b"b")
    found = shell.json("transactions", "list")["transactions"]
    assert [row["transaction"] for row in found] == [first.transaction, second.transaction]
    assert (found[0]["owner"], found[0]["topic"], found[0]["parked"]) == ("b-1", "halves", False)
    assert "2 open" in shell.text("transactions", "list")
    assert shell("transactions", "list", "--parked").err == "nothing is parked\n"

    committed = "committed: visible from offset 0 on\n"
    assert shell.text("transactions", "commit", first.transaction) == committed
    assert shell.text("transactions", "commit", first.transaction) == committed
    done = shell.json("transactions", "rollback", second.transaction)
    assert done == {"transaction": second.transaction, "outcome": "rolled back"}
    late = shell("transactions", "rollback", first.transaction)
    assert (late.code, "committed" in late.err) == (Exit.FAILED, True)
    assert shell.text("sub", "halves", "--format", "%v%n") == "a\n"


@pytest.mark.parametrize(
    ("name", "says"), [("rubbish", "names no transaction"), ("99.1", "no transactor 99")]
)
def test_a_name_that_is_none_or_nobody_s(shell: Shell, name: str, says: str) -> None:
    """Each says what is wrong."""
    ran = shell("transactions", "commit", name)
    assert ran.code == Exit.FAILED
    assert says in ran.err
