"""``raftlog pub`` on a real node: what is sent, from where, and what is said about it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raftlog.cli.exits import Exit
from raftlog.testing.cluster import LocalCluster
from tests.cli.conftest import Ran, Shell


@pytest.fixture
def topic(shell: Shell, request: pytest.FixtureRequest) -> str:
    """A new topic with two queues."""
    name = f"t-{abs(hash(request.node.name))}"
    shell.text("topic", "create", name, "--queues", "2")
    return name


@pytest.fixture
def feed(shell: Shell) -> Iterator[Any]:
    """Run a command with bytes on its standard input."""
    saved = os.dup(0)

    def run(data: bytes, *arguments: str) -> Ran:
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        os.dup2(reading, 0)
        os.close(reading)
        return shell(*arguments)

    yield run
    os.dup2(saved, 0)
    os.close(saved)


def stored(shell: Shell, topic: str) -> list[tuple[object, object]]:
    """Return key and value of every record, by queue and offset."""
    text = shell.text("sub", topic, "--format", "%q %k %v%n")
    found = [line.split(" ", 2) for line in text.splitlines()]
    return [(key, value) for _, key, value in sorted(found, key=lambda each: each[0])]


def test_one_record_is_told_where_it_is(shell: Shell, topic: str) -> None:
    """Queue, offset, and what the acknowledgement means."""
    assert shell.text("pub", topic, "v", "--queue", "1") == f"{topic}: queue 1, offset 0 (fsync)\n"
    assert shell.json("pub", topic, "v", "--queue", "1") == {
        "topic": topic,
        "acknowledged": 1,
        "failed": 0,
        "unknown": 0,
        "duplicates": 0,
        "durability": "fsync",
        "queues": [{"queue": 1, "count": 1, "first": 1, "last": 1}],
    }


def test_key_headers_and_tag_go_along(shell: Shell, topic: str) -> None:
    """A header's value may be empty and may contain the sign."""
    shell.text("pub", topic, "v", "--key", "k", "-H", "a=1=2", "-H", "b=", "--tag", "new")

    (found,) = (shell.json("sub", topic),)
    assert (found["key"], found["value"], found["tag"]) == ("k", "v", "new")
    assert found["headers"] == {"a": "1=2", "b": ""}


def test_an_id_is_stored_once(shell: Shell, topic: str) -> None:
    """The second one is told where the first is; the id comes back with the record."""
    first = shell.text("pub", topic, "v", "--id", "order-17")
    assert shell.text("pub", topic, "w", "--id", "order-17") == first[:-1] + ", stored before\n"

    found = shell.json("sub", topic)
    assert (found["value"], found["id"]) == ("v", "order-17")
    assert shell.text("sub", topic, "--format", "%i%n") == "order-17\n"


def test_an_id_is_of_one_record(shell: Shell, topic: str) -> None:
    """Repeated, it would be stored once, which nobody means who asks for a count."""
    ran = shell("pub", topic, "v", "--id", "a", "--count", "2")
    assert ran.code == 2
    assert "--id is one record" in ran.err


def test_an_empty_value_is_a_record(shell: Shell, topic: str) -> None:
    """Not "no value given"."""
    shell.text("pub", topic, "")

    assert shell.json("sub", topic)["value"] == ""


def test_count_repeats_the_value(shell: Shell, topic: str) -> None:
    """Every record has its own offset."""
    told = shell.text("pub", topic, "v", "--count", "2500", "--queue", "0")

    assert told == (
        f"{topic}: 2,500 records acknowledged (fsync): 2,500 in queue 0 (offsets 0 to 2499)\n"
    )


def test_lines_come_from_standard_input(shell: Shell, feed: Any, topic: str) -> None:
    """In their order, with one key in one queue."""
    ran = feed(b"a\n\nb\r\nlast", "pub", topic, "--key", "k")

    assert ran.code == Exit.DONE
    assert stored(shell, topic) == [("k", "a"), ("k", ""), ("k", "b"), ("k", "last")]


def test_no_input_is_no_record_and_no_error(feed: Any, topic: str) -> None:
    """``grep nothing log | raftlog pub`` is fine."""
    ran = feed(b"", "pub", topic)

    assert (ran.code, ran.out) == (Exit.DONE, f"{topic}: the input has no record\n")


def test_ndjson_comes_from_a_file(shell: Shell, topic: str, tmp_path: Path) -> None:
    """What a line says stands over what the options say."""
    file = tmp_path / "in.ndjson"
    file.write_text(
        '{"value": "a"}\n'
        '{"key": "own", "value": {"n": 1}, "headers": {"h": "own", "x": "1"}, "tag": "t"}\n'
    )

    shell.text(
        *("pub", topic, "--format", "json", "--file", str(file)),
        *("--key", "k", "-H", "h=all", "--queue", "0"),
    )

    lines = shell.text("sub", topic, "--format", "%k|%v|%h|%g%n").splitlines()
    assert lines == ["k|a|h=all|", 'own|{"n":1}|h=own,x=1|t']


def test_a_whole_file_is_one_record(shell: Shell, topic: str, tmp_path: Path) -> None:
    """Whatever is in it."""
    (tmp_path / "f").write_bytes(b"\x00\n\xff")

    shell.text("pub", topic, "--format", "raw", "--file", "f")

    assert shell.text("sub", topic, "--format", "%v{hex}") == "000aff"


def test_a_bad_line_ends_the_sending_with_its_number(
    shell: Shell, topic: str, tmp_path: Path
) -> None:
    """What came before is stored, and said to be."""
    (tmp_path / "f").write_text('{"value": "a"}\n{"value": "b"}\noops\n{"value": "c"}\n' * 1)

    ran = shell("pub", topic, "--format", "json", "--file", "f")

    assert ran.code == Exit.USAGE
    assert "f:3: no JSON" in ran.err
    assert "the rest of the input was not sent" in ran.err
    assert ("", "c") not in stored(shell, topic)


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["ordres", "v"], Exit.FAILED, "did you mean 'orders'?"),
        (["orders", "v", "--queue", "9"], Exit.FAILED, "queue 9"),
        (["orders", "v", "-H", "novalue"], Exit.USAGE, "'novalue' is no header; write NAME=VALUE"),
        (["orders", "v", "-H", "=x"], Exit.USAGE, "write NAME=VALUE"),
        (["orders", "v", "--file", "f"], Exit.USAGE, "leave out --file"),
        (["orders", "--count", "3"], Exit.USAGE, "--count repeats VALUE"),
        (["orders", "v", "--count", "0"], Exit.USAGE, "greater than or equal to 1"),
        (["orders", "--file", "nope"], Exit.USAGE, "nope can't be read (No such file"),
        (["orders", "--file", "."], Exit.USAGE, "can't be read"),
        (["orders", "a", "b"], Exit.USAGE, "unexpected extra argument"),
        ([], Exit.USAGE, "Missing argument 'TOPIC'"),
    ],
)
def test_mistakes_are_told_what_to_do(
    shell: Shell, arguments: list[str], code: Exit, complaint: str
) -> None:
    """On stderr, with nothing on stdout."""
    shell.text("topic", "create", "orders", "--if-not-exists")

    ran = shell("pub", *arguments)

    assert (ran.code, ran.out) == (code, ""), ran.err
    assert complaint in " ".join(ran.err.replace("│", " ").split())


def test_a_topic_that_is_closed_takes_nothing(shell: Shell, topic: str) -> None:
    """JSON stays complete on stdout, the sentence is on stderr."""
    shell.text("topic", "alter", topic, "--no-writable")

    ran = shell("pub", topic, "v", "-o", "json")

    assert ran.code == Exit.FAILED
    assert (ran.data["acknowledged"], ran.data["failed"]) == (0, 1)
    assert "raftlog topic alter" in ran.err


def test_ctrl_c_ends_it_and_tells_how_far_it_came(shell: Shell, topic: str) -> None:
    """Although it waits for more input just then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "raftlog", "pub", topic, "--queue", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write("a\n")
    process.stdin.flush()
    assert shell.text("sub", topic, "--follow", "--count", "1") == "a\n"
    time.sleep(0.2)  # for the receipt, which nobody else sees

    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=20)
        assert process.stderr is not None
        err = process.stderr.read()
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == Exit.INTERRUPTED
    assert err == f"{topic}: 1 acknowledged; the rest of the input was not sent\n"


@pytest.mark.long
def test_a_record_without_an_answer_is_told_as_that(
    cluster: LocalCluster, shell: Shell, topic: str
) -> None:
    """It may be stored: a script sees that by the exit code, a person by the sentence."""
    (node,) = cluster.nodes.values()
    process = subprocess.Popen(
        [sys.executable, "-m", "raftlog", "pub", topic, "--queue", "0", "--timeout", "2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write("a\n")
    process.stdin.flush()
    assert shell.text("sub", topic, "--follow", "--count", "1") == "a\n"
    time.sleep(0.2)
    node.pause()
    try:
        _, err = process.communicate("b\n", timeout=30)
    finally:
        node.resume()

    assert process.returncode == Exit.UNKNOWN
    assert "1 of unknown outcome: each may be stored, or not" in err
    assert f"raftlog sub {topic} --from -5m" in err
