"""``raftlog queue-group`` and ``raftlog receive`` on a real node, and what is said about them."""

import json

import pytest

from raftlog.cli.exits import Exit
from tests.cli.conftest import Shell


def receive(shell: Shell, *arguments: str) -> list[dict[str, object]]:
    """Return what was received, as JSON."""
    ran = shell("receive", *arguments, "-o", "json")
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in ran.lines]


def test_a_group_from_its_making_to_its_end(shell: Shell) -> None:
    """Opened twice, described, listed, worked for, deleted."""
    assert "queue-group open" in shell("queue-group", "list").err
    shell.text("topic", "create", "jobs", "--queues", "1")
    for value in ("a", "b", "c", "d"):
        shell.text("pub", "jobs", value)
    settings = ("--lease", "10s", "--attempts", "3", "--retry", "0s", "--retry", "1s", "--fifo")
    shell.text("queue-group", "open", "work", "jobs", *settings)
    found = shell.json("queue-group", "open", "work", "--no-fifo", "--on-poison", "block")
    assert found["settings"] == {
        "lease_ms": 10_000,
        "attempts": 3,
        "retry_ms": [0, 1000],
        "in_flight": 10_000,
        "fifo": False,
        "on_poison": "block",
    }
    assert (found["topics"], found["unread"], found["in_flight"]) == (["jobs"], 4, 0)

    assert shell.text("receive", "work", "--count", "1") == "a\n"
    looked = receive(shell, "work", "--count", "3", "--then", "release")
    assert [(each["value"], each["attempts"]) for each in looked] == [
        *(("b", 1), ("c", 1), ("d", 1)),
    ]
    back = ("--then", "nack", "--delay", "1h", "--reason", "later")
    assert shell.text("receive", "work", "--count", "1", *back) == "b\n"
    assert shell.text("receive", "work", "--count", "1", "--then", "reject") == "c\n"
    assert shell.text("receive", "work") == "d\n"
    assert "nothing to receive in work" in shell("receive", "work").err

    flights = shell.json("queue-group", "in-flight", "work")["messages"]
    assert [(row["offset"], row["state"], row["reason"]) for row in flights] == [
        (1, "waiting", "later"),
        (2, "blocked", ""),
    ]
    assert "blocked" in shell.text("queue-group", "in-flight", "work", "--blocked")
    assert "1 blocked" in shell.text("queue-group", "describe", "work")
    assert "jobs" in shell.text("queue-group", "list")
    listed = shell.json("queue-group", "list")
    assert listed == [
        {
            "group": "work",
            "topics": ["jobs"],
            "in_flight": 2,
            "unread": 0,
            "dead_letters": 0,
            "lag_ms": listed[0]["lag_ms"],
        }
    ]
    assert listed[0]["lag_ms"] > 0

    shell.text("queue-group", "decide", "work", "jobs", "0", "2", "skip")
    shell.text("queue-group", "decide", "work", "jobs", "0", "2", "skip")  # as after a lost answer
    again = shell("queue-group", "decide", "work", "jobs", "0", "2", "retry")
    assert (again.code, "is not blocked" in again.err) == (Exit.FAILED, True)
    assert shell.json("queue-group", "describe", "work")["skipped"] == 1
    assert shell.json("queue-group", "delete", "work", "--yes") == {"deleted": "work"}
    assert shell("queue-group", "describe", "work").code == Exit.FAILED


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("queue-group describe nobody", Exit.FAILED, "no queue-style group 'nobody'"),
        ("queue-group open w nowhere", Exit.FAILED, "nowhere"),
        ("queue-group open w", Exit.FAILED, "topic"),
        ("queue-group open w --lease 1", Exit.USAGE, "no duration"),
        ("queue-group open w jobs --on-poison panic", Exit.FAILED, "dead-letter, skip, block"),
        ("queue-group open w jobs --from middle", Exit.FAILED, "'earliest' or 'latest'"),
        ("queue-group decide nobody t 0 0 maybe", Exit.FAILED, "retry, skip, dead-letter"),
        ("queue-group delete nobody --yes", Exit.FAILED, "no queue-style group 'nobody'"),
        ("receive w --then release", Exit.USAGE, "--count"),
        ("receive w --delay 1s", Exit.USAGE, "--then nack"),
        ("receive w --reason x", Exit.USAGE, "--then"),
        ("receive w nowhere", Exit.FAILED, "nowhere"),
        ("receive w --format %v -o json", Exit.USAGE, "--format"),
    ],
)
def test_what_can_t_be_is_said(shell: Shell, command: str, code: Exit, says: str) -> None:
    """Each says what is wrong."""
    ran = shell(*command.split())
    assert ran.code == code, ran
    assert says in " ".join(ran.err.split())


def test_what_a_group_reads_is_said_by_hand_or_by_who_consumes(shell: Shell) -> None:
    """With a filter; who says something else is refused."""
    shell.text("topic", "create", "bills", "--queues", "1")
    for value, tag in (("a", "open"), ("b", "paid"), ("c", "open")):
        shell.text("pub", "bills", value, "--tag", tag)
    assert shell.text("receive", "dun", "bills", "--tag", "open") == "a\nc\n"
    described = shell.text("queue-group", "describe", "dun")
    assert "reads bills (tags open), version 1" in described
    assert "1 passed over by the filter" in described
    refused = shell("receive", "dun", "bills")
    assert (refused.code, "reads bills (tags open)" in refused.err) == (Exit.FAILED, True)
    assert shell("receive", "dun", "--tag", "open").code == Exit.USAGE

    subscribed = ("queue-group", "subscribe", "dun", "bills", "--filter", "n > 1")
    assert shell.text(*subscribed) == "dun reads bills (filter n > 1), version 2\n"
    assert shell.json(*subscribed, "--version", "1") == {"group": "dun", "version": 2}
    found = shell.json("queue-group", "open", "dun", "--filter", "", "--tag", "paid")
    assert found["subscription"] == {
        "filter": "",
        "tags": ["paid"],
        "version": 3,
        "by_hand": True,
    }


def test_a_group_goes_back_and_says_what_that_means(shell: Shell) -> None:
    """Looked at first, then done; beyond the end is an error."""
    shell.text("topic", "create", "tasks", "--queues", "1")
    for value in ("a", "b", "c"):
        shell.text("pub", "tasks", value)
    assert shell.text("receive", "todo", "tasks", "--count", "2") == "a\nb\n"
    back = ("--then", "nack", "--delay", "1h")
    assert shell.text("receive", "todo", "--count", "1", *back) == "c\n"
    seek = ("queue-group", "seek", "todo", "--to", "earliest")
    looked = shell(*seek, "--dry-run")
    assert "3 again" in looked.out
    assert "1 waiting, again" in looked.out
    assert "nothing was changed" in looked.err
    done = shell.json(*seek)
    assert done["done"] is True
    assert done["queues"] == [
        {
            "topic": "tasks",
            "queue": 0,
            "before": 3,
            "after": 0,
            "end": 3,
            "in_flight": {"kept": 0, "leased": 0, "waiting": 1, "failed": 0},
        }
    ]
    assert shell.text("receive", "todo") == "a\nb\nc\n"
    beyond = shell("queue-group", "seek", "todo", "--to", "9", "--topic", "tasks")
    assert (beyond.code, "9" in beyond.err) == (Exit.FAILED, True)
