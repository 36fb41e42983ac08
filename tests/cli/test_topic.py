"""``raftlog topic`` on a real node: what it does, prints and refuses."""

import time

import pytest

from raftlog.cli.exits import Exit
from tests.cli.conftest import Shell


def test_a_topic_is_created_with_what_was_asked(shell: Shell) -> None:
    """And with defaults for the rest."""
    made = shell.json(
        *("topic", "create", "made", "--queues", "2"),
        *("--retention", "5m", "--retention-bytes", "64MiB"),
    )

    assert made == {
        "topic": "made",
        "retention_ms": 300_000,
        "retention_bytes": 64 << 20,
        "readable": True,
        "writable": True,
        "types": ["normal", "fifo", "delayed", "transactional"],
        "until_consumed": False,
        "id_window_ms": 600_000,
        "ids": 0,
        "ids_shortened": None,
        "bytes": 0,
        "queues": [
            {"queue": 0, "start": 0, "end": 0, "bytes": 0, "delayed": 0},
            {"queue": 1, "start": 0, "end": 0, "bytes": 0, "delayed": 0},
        ],
        "log_hold": None,
        "holding": [],
    }
    assert shell.json("topic", "describe", "made") == made


def test_defaults_are_those_of_the_reference(shell: Shell) -> None:
    """Four queues, 72 hours, no bound."""
    made = shell.json("topic", "create", "plain")

    assert len(made["queues"]) == 4
    assert (made["retention_ms"], made["retention_bytes"]) == (72 * 3_600_000, None)


def test_a_person_reads_settings_above_the_queues(shell: Shell) -> None:
    """One line, then a table."""
    shell.text("topic", "create", "shown", "--queues", "1", "--retention", "forever")
    text = shell.text("topic", "alter", "shown", "--retention-bytes", "1GiB", "--no-writable")

    first, *table = text.splitlines()
    assert first == (
        "topic shown: records are kept forever, at most 1GiB of each queue; not writable"
    )
    assert [cell.strip() for cell in table[1].strip("┃").split("┃")] == [
        *("queue", "start", "end", "records", "bytes")
    ]


def test_a_topic_that_is_there_is_left_as_it_is_if_that_is_fine(shell: Shell) -> None:
    """``--if-not-exists`` is for scripts that run twice."""
    shell.text("topic", "create", "twice", "--queues", "1")

    again = shell.json("topic", "create", "twice", "--queues", "3", "--if-not-exists")
    assert len(again["queues"]) == 1

    refused = shell("topic", "create", "twice")
    assert refused.code == Exit.FAILED
    assert refused.err.startswith("raftlog: there is a topic 'twice' already; ")


def test_alter_changes_what_is_named_only(shell: Shell) -> None:
    """Queues can be added."""
    shell.text("topic", "create", "changed", "--queues", "1", "--retention", "5m")

    changed = shell.json("topic", "alter", "changed", "--queues", "3", "--no-readable")

    assert len(changed["queues"]) == 3
    assert (changed["retention_ms"], changed["readable"]) == (300_000, False)
    assert shell.json("topic", "alter", "changed", "--readable")["readable"] is True
    assert (
        shell.json("topic", "alter", "changed", "--retention", "forever")["retention_ms"] is None
    )


def test_a_topic_is_made_closed(shell: Shell) -> None:
    """So that nobody sends to it before all is ready."""
    made = shell.json("topic", "create", "closed", "--no-writable", "--no-readable")
    assert (made["writable"], made["readable"]) == (False, False)
    assert shell("pub", "closed", "v").code == Exit.FAILED


def test_a_topic_takes_the_types_that_it_is_told(shell: Shell) -> None:
    """And says so, to people and programs; others are refused, with what it takes."""
    create = ("topic", "create", "typed", "--types", "fifo,delayed", "--queues", "1")
    deadline = time.monotonic() + 20
    while "feature level" in (ran := shell(*create, "-o", "json")).err:  # it has just begun
        assert time.monotonic() < deadline, ran.err
        time.sleep(0.05)
    assert ran.code == 0, ran.err
    made = ran.data
    assert made["types"] == ["fifo", "delayed"]
    refused = shell("pub", "typed", "v")
    assert refused.code == Exit.FAILED
    assert "takes fifo and delayed messages, and a normal one came" in refused.err
    shell.text("pub", "typed", "v", "--key", "k")
    shell.text("delayed", "send", "typed", "v", "--delay", "1h")
    text = shell.text("topic", "alter", "typed", "--types", "delayed")
    assert text.splitlines()[0].endswith("; it takes delayed messages")
    assert shell("pub", "typed", "v", "--key", "k").code == Exit.FAILED
    altered = shell.json("topic", "alter", "typed", "--types", "any")
    assert altered["types"] == ["normal", "fifo", "delayed", "transactional"]
    assert "it takes" not in shell.text("topic", "describe", "typed")


def test_list_counts_records(shell: Shell) -> None:
    """In all queues."""
    shell.text("topic", "create", "counted", "--queues", "2")
    shell.text("pub", "counted", "v", "--count", "5")

    rows = {row["topic"]: row for row in shell.json("topic", "list")}

    assert rows["counted"]["records"] == 5
    assert rows["counted"]["queues"] == 2
    assert "counted" in shell.text("topic", "list")


def test_delete_with_yes_asks_nobody(shell: Shell) -> None:
    """A script has no terminal."""
    shell.text("topic", "create", "gone")

    assert shell.json("topic", "delete", "gone", "--yes") == {"deleted": "gone"}
    assert shell("topic", "describe", "gone").code == Exit.FAILED


@pytest.mark.parametrize(("answer", "code"), [("y", Exit.DONE), ("n", Exit.FAILED)])
def test_delete_asks_a_person(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, answer: str, code: Exit
) -> None:
    """And does what the person says."""
    shell.text("topic", "create", f"asked-{answer}")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda _text, **_: answer == "y")

    assert shell("topic", "delete", f"asked-{answer}").code == code
    names = [row["topic"] for row in shell.json("topic", "list")]
    assert (f"asked-{answer}" in names) == (answer == "n")


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["create", "bad name"], Exit.FAILED, "'.', '_' or '-'"),
        (["create", "%log"], Exit.FAILED, "system"),
        (["create", "t", "--queues", "0"], Exit.USAGE, "greater than or equal to 1"),
        (["create", "t", "--retention", "60"], Exit.USAGE, "is no duration; write one like"),
        (["create", "t", "--retention-bytes", "big"], Exit.USAGE, "is no size; write one like"),
        (["create"], Exit.USAGE, "Missing argument 'TOPIC'"),
        (["alter", "ordres", "--queues", "9"], Exit.FAILED, "did you mean 'orders'?"),
        (["create", "t", "--types", "fast"], Exit.USAGE, "'fast' is no type of messages"),
        (["alter", "orders", "--types", ","], Exit.USAGE, "is no type of messages"),
        (["alter", "orders"], Exit.USAGE, "name at least one setting to change"),
        (["alter", "orders", "--queues", "1"], Exit.FAILED, "queues"),
        (["describe", "order"], Exit.FAILED, "did you mean 'orders'?"),
        (["describe", "zzz"], Exit.FAILED, "raftlog topic create"),
        (["describe"], Exit.USAGE, "Missing argument"),
        (["list", "orders"], Exit.USAGE, "unexpected extra argument"),
        (["list", "-o", "xml"], Exit.USAGE, "'xml'"),
        (["list", "--connect", "here"], Exit.USAGE, "'here' is no address"),
        (["delete", "orders"], Exit.USAGE, "give --yes"),
        (["delete", "ordres", "--yes"], Exit.FAILED, "did you mean 'orders'?"),
        (["delete", "%log", "--yes"], Exit.FAILED, "raftlog:"),
    ],
)
def test_mistakes_are_told_what_to_do(
    shell: Shell, arguments: list[str], code: Exit, complaint: str
) -> None:
    """On stderr, with nothing on stdout, and with the right exit code."""
    shell.text("topic", "create", "orders", "--if-not-exists")

    ran = shell("topic", *arguments)

    assert (ran.code, ran.out) == (code, ""), ran.err
    assert complaint in " ".join(ran.err.replace("│", " ").split())
    if code == Exit.FAILED:
        assert ran.err.count("\n") == 1, "one sentence"


def test_until_consumed_says_its_bound(shell: Shell) -> None:
    """And is refused without one."""
    made = shell.text("topic", "create", "until", "--until-consumed")
    assert made.startswith(
        "topic until: records are kept until every group has read them, 72h at most"
    )
    refused = shell("topic", "alter", "until", "--retention", "forever")
    assert refused.code == 1
    assert "need a bound by time or bytes" in refused.err
    assert shell.json("topic", "alter", "until", "--no-until-consumed")["until_consumed"] is False
