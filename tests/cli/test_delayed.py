"""``raftlog delayed`` on a real node: send, list, cancel, and what is said about it."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raftlog.cli.exits import Exit
from tests.cli.conftest import Shell


@pytest.fixture
def topic(shell: Shell, request: pytest.FixtureRequest) -> str:
    """A new topic with one queue."""
    name = f"t-{abs(hash(request.node.name))}"
    shell.text("topic", "create", name, "--queues", "1")
    return name


def test_it_is_told_when_it_is_visible_and_how_to_cancel_it(shell: Shell, topic: str) -> None:
    """The command that is shown does it."""
    told = shell.text("delayed", "send", topic, "v", "--delay", "1h")
    assert told.startswith(f"{topic}: queue 0, visible from 20")
    handle = re.search(r"raftlog delayed cancel (\S+)", told)
    assert handle is not None
    cancelled = "cancelled: it will never be visible\n"
    assert shell.text("delayed", "cancel", handle[1]) == cancelled
    assert shell.text("delayed", "cancel", handle[1]) == cancelled


def test_what_is_due_is_there(shell: Shell, topic: str) -> None:
    """By a delay, or a moment that is past; it can't be cancelled then."""
    first = shell.json("delayed", "send", topic, "a", "--deliver-at", "2001-01-01T00:00:00Z")
    shell.json("delayed", "send", topic, "b", "--delay", "50ms", "--key", "k")
    read = shell.text("sub", topic, "--follow", "--count", "2", "--format", "%k %v%n")
    assert read == " a\nk b\n"
    late = shell("delayed", "cancel", first["handle"])
    assert (late.code, late.out) == (Exit.FAILED, "too late: it is visible already\n")
    assert shell("delayed", "cancel", first["handle"], "-o", "json").data["outcome"] == "delivered"


def test_what_is_pending_is_shown(shell: Shell, topic: str) -> None:
    """Also where a topic is described."""
    assert shell("delayed", "list", topic).err == f"nothing is pending in {topic}\n"
    sent = [shell.json("delayed", "send", topic, "v", "--delay", delay) for delay in ("2d", "40d")]
    found = shell.json("delayed", "list", topic)
    assert (found["topic"], found["pending"]) == (topic, 2)
    assert [each["handle"] for each in found["messages"]] == [each["handle"] for each in sent]
    due = datetime.fromisoformat(found["messages"][0]["due"])
    assert timedelta(hours=47) < due - datetime.now(UTC) < timedelta(hours=49)
    shown = shell("delayed", "list", topic, "--limit", "1")
    assert shown.lines[0] == f"1 of 2 pending in {topic}"
    assert sent[0]["handle"] in shown.out
    assert f"2 delayed: raftlog delayed list {topic}\n" in shell.text("topic", "describe", topic)
    assert shell.json("topic", "describe", topic)["queues"][0]["delayed"] == 2


def test_it_has_what_a_record_has(shell: Shell, topic: str) -> None:
    """As for ``pub``."""
    options = ("--key", "k", "-H", "a=1", "--header", "b=x=y", "--tag", "mail")
    shell.json("delayed", "send", topic, "v", "--delay", "10ms", *options)
    read = shell("sub", topic, "--follow", "--count", "1", "-o", "json").data
    assert (read["key"], read["value"], read["tag"]) == ("k", "v", "mail")
    assert read["headers"] == {"a": "1", "b": "x=y"}


def test_records_of_a_file(shell: Shell, topic: str, tmp_path: Path) -> None:
    """Each has a handle of its own, in the order of the file; defaults are for those without."""
    lines = tmp_path / "lines"
    lines.write_text("one\ntwo\n")
    told = shell("delayed", "send", topic, "--file", str(lines), "--delay", "1h").lines
    assert len(told) == 2
    assert all("to cancel it: raftlog delayed cancel " in line for line in told)

    objects = tmp_path / "objects"
    objects.write_text('{"value": "three", "tag": "own"}\n{"value": "four"}\n')
    more = ("--format", "json", "--tag", "given", "--deliver-at", "2001-01-01T00:00:00Z")
    sent = shell.json("delayed", "send", topic, "--file", str(objects), *more)
    assert (sent["acknowledged"], sent["failed"], sent["unknown"]) == (2, 0, 0)
    assert len({each["handle"] for each in sent["messages"]}) == 2
    read = shell.text("sub", topic, "--follow", "--count", "2", "--format", "%g %v%n")
    assert read == "own three\ngiven four\n"
    assert shell.json("delayed", "list", topic)["pending"] == 2


def test_a_line_that_is_no_record_ends_it(shell: Shell, topic: str, tmp_path: Path) -> None:
    """What was sent before is told with its handles, and the line is named."""
    objects = tmp_path / "objects"
    objects.write_text('{"value": "one"}\n{"value": "two", "id": "i"}\n{"value": "three"}\n')
    ran = shell(
        *("delayed", "send", topic, "--file", str(objects), "--format", "json", "--delay", "1h")
    )
    assert ran.code == Exit.USAGE
    assert len(ran.lines) == 1
    assert "1 acknowledged, 1 not stored; the rest of the input was not sent" in ran.err
    assert "a delayed record has no id" in ran.err
    assert shell.json("delayed", "list", topic)["pending"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), Exit.USAGE, "--delay or --deliver-at"),
        (("--delay", "1h", "--deliver-at", "2030-01-01"), Exit.USAGE, "one of them"),
        (("--delay", "-1s"), Exit.USAGE, "is no duration"),
        (("--deliver-at", "soon"), Exit.USAGE, "is no moment"),
        (("--delay", "1s", "--file", "f"), Exit.USAGE, "leave out --file"),
        (("--delay", "1s", "-H", "a"), Exit.USAGE, "'a' is no header"),
        (("--delay", "41d"), Exit.FAILED, "40 days"),
        (("--deliver-at", "2999-01-01"), Exit.FAILED, "40 days"),
    ],
)
def test_a_time_that_makes_no_sense_is_refused(
    shell: Shell, topic: str, arguments: tuple[str, ...], code: Exit, says: str
) -> None:
    """With what to write instead."""
    ran = shell("delayed", "send", topic, "v", *arguments)
    assert ran.code == code, ran
    assert says in ran.err


def test_a_handle_that_is_none_or_nobody_s(shell: Shell, topic: str) -> None:
    """One is refused, the other is unknown."""
    assert shell("delayed", "cancel", "rubbish").code == Exit.FAILED
    sent = shell.json("delayed", "send", topic, "v", "--delay", "1h")
    queue, id_, due = sent["handle"].split(".")
    other = shell("delayed", "cancel", f"{queue}.{int(id_) + 1}.{due}")
    assert (other.code, other.out.split(":")[0]) == (Exit.FAILED, "unknown")
