"""``raftlog dead-letters`` on a real node: list, send again, interrupted, refused."""

import time
from contextlib import suppress
from typing import Any

import pytest

from raftlog.base.errors import TopicNotFound, Unavailable
from raftlog.cli.exits import Exit
from raftlog.client.queue_message import QueueMessage
from raftlog.sync import Client
from raftlog.testing.cluster import LocalCluster
from tests.cli.conftest import Shell


def bury(shell: Shell, cluster: LocalCluster, topic: str, group: str, *values: str) -> None:
    """Make dead letters, and wait until they are stored; the group reads what it has to."""
    for value in values:
        shell.text("pub", topic, value, "--key", "k", "--tag", "t", "-H", "a=1")
    reject = ("--then", "reject", "--reason", "no such account")
    shell.text("queue-group", "open", group, topic)
    shell.text("receive", group, "--count", str(len(values)), *reject)
    with Client(cluster.seeds) as client:
        for _ in range(500):  # the first letter makes the topic, when the leader stores it
            with suppress(TopicNotFound), client.reader(f"%DLQ%{group}") as reader:
                for _ in values:
                    next(reader)
                return
            time.sleep(0.01)
    raise AssertionError("no dead letters")


def test_letters_are_sent_again_once(
    shell: Shell, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the marking of one is interrupted, and by whoever repeats it."""
    shell.text("topic", "create", "mail", "--queues", "1")
    shell.text("queue-group", "open", "post", "mail")
    assert "no such dead letters" in shell("dead-letters", "list", "post").err
    assert shell.json("dead-letters", "resend", "post")["sent"] == 0
    bury(shell, cluster, "mail", "post", "a", "b", "c")

    found = shell.json("dead-letters", "resend", "post", "--dry-run")
    assert (found["done"], len(found["letters"])) == (False, 3)
    assert found["letters"][1] == {
        "letter": 1,
        "topic": "mail",
        "queue": 0,
        "offset": 1,
        "attempts": 1,
        "reason": "no such account",
        "resent": False,
        "record": {**found["letters"][1]["record"], "value": "b", "headers": {"a": "1"}},
    }
    assert shell.json("dead-letters", "resend", "post", "--limit", "1")["sent"] == 1

    ack = QueueMessage.ack

    async def lost(message: QueueMessage) -> None:
        if message.value == b"b":
            raise Unavailable("as a process that dies")
        await ack(message)

    with monkeypatch.context() as patch:
        patch.setattr(QueueMessage, "ack", lost)
        assert shell("dead-letters", "resend", "post").code == Exit.FAILED
    pending = shell.json("dead-letters", "list", "post", "--pending")["letters"]
    assert [each["record"]["value"] for each in pending] == ["b"]

    again = shell.json("dead-letters", "resend", "post")
    assert (again["sent"], again["duplicates"], again["failed"]) == (1, 1, [])
    assert shell.json("dead-letters", "resend", "post")["sent"] == 0
    letters = shell.json("dead-letters", "list", "post")["letters"]
    assert [each["resent"] for each in letters] == [True] * 3
    sent = shell.text("sub", "mail", "--from", "3", "--format", "%k%v%g %h%n").splitlines()
    assert sorted(sent) == [
        f"k{value}t a=1,dead-letter-resent={offset}" for offset, value in enumerate("abc")
    ]
    assert "yes" in shell.text("dead-letters", "list", "post")
    with Client(cluster.seeds) as client:
        assert [each.reason for each in client.dead_letters.list("post")] == [
            "no such account"
        ] * 3
        assert {each.name for each in client.queue_groups.list()} >= {"post", "resend.post"}


def test_what_can_t_be_sent_stays(shell: Shell, cluster: LocalCluster) -> None:
    """The topic is gone: the error says so, and another topic may be named."""
    for topic in ("gone", "kept"):
        shell.text("topic", "create", topic, "--queues", "1")
    shell.text("queue-group", "open", "both", "gone", "kept")
    bury(shell, cluster, "gone", "both", "x")
    bury(shell, cluster, "kept", "both", "y", "z")
    shell.text("topic", "delete", "gone", "--yes")

    ran = shell("dead-letters", "resend", "both", "-o", "json")
    found: Any = ran.data
    assert (ran.code, found["sent"]) == (Exit.FAILED, 2)
    assert [(each["offset"], each["error"]) for each in found["failed"]] == [
        (0, "topic_not_found")
    ]
    assert "letter 0 stays" in ran.err
    pending = shell.json("dead-letters", "list", "both", "--pending")["letters"]
    assert [each["record"]["value"] for each in pending] == ["x"]

    assert shell.json("dead-letters", "resend", "both", "--topic", "kept")["sent"] == 1
    assert shell.text("sub", "kept", "--from", "2").split()[-1] == "x"


@pytest.mark.parametrize("command", ["list", "resend"])
def test_a_group_that_is_none(shell: Shell, command: str) -> None:
    """It is not taken for one without letters."""
    ran = shell("dead-letters", command, "nobody")
    assert (ran.code, "no queue-style group 'nobody'" in ran.err) == (Exit.FAILED, True)
