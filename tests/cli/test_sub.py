"""``raftlog sub`` on a real node: where it begins, when it ends, what it writes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

import pytest

from raftlog.base.errors import Fenced, UnknownMember
from raftlog.cli.exits import Exit
from raftlog.cli.sub import _Subscription
from tests.cli.conftest import Shell


@pytest.fixture
def topic(shell: Shell, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A topic with one queue and the values 0 to 9."""
    name = f"t-{abs(hash(request.node.name))}"
    shell.text("topic", "create", name, "--queues", "1")
    (tmp_path / "numbers").write_text("".join(f"{number}\n" for number in range(10)))
    shell.text("pub", name, "--file", "numbers")
    return name


def values(shell: Shell, *arguments: str) -> list[int]:
    """Return the numbers that a ``sub`` writes."""
    return [int(line) for line in shell.text("sub", *arguments).splitlines()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], range(10)),
        (["--from", "earliest"], range(10)),
        (["--from", "latest"], range(0)),
        (["--from", "7"], range(7, 10)),
        (["--from", "10"], range(0)),
        (["--from", "-1h"], range(10)),
        (["--from", "2020-01-01"], range(10)),
        (["--from", "2100-01-01T00:00:00Z"], range(0)),
        (["--count", "3"], range(3)),
        (["--from", "8", "--count", "5"], range(8, 10)),
        (["--follow", "--count", "10"], range(10)),
        (["--queue", "0", "--from", "9"], range(9, 10)),
        (["--staleness", "0s"], range(10)),
        (["--staleness", "5s", "--follow", "--count", "10"], range(10)),
    ],
)
def test_it_begins_and_ends_where_it_is_told(
    shell: Shell, topic: str, arguments: list[str], expected: range
) -> None:
    """Without --follow at the end that there was; with --count after so many."""
    assert values(shell, topic, *arguments) == list(expected)


def test_json_is_one_object_a_line(shell: Shell, topic: str) -> None:
    """With everything that is known of a record."""
    ran = shell("sub", topic, "--count", "2", "-o", "json")

    first, second = (json.loads(line) for line in ran.lines)
    assert (first["topic"], first["queue"], first["offset"], first["value"]) == (topic, 0, 0, "0")
    assert second["offset"] == 1
    assert second["timestamp_ms"] >= first["timestamp_ms"] > 1_700_000_000_000


def test_a_topic_is_copied_by_a_pipe(shell: Shell, topic: str, tmp_path: Path) -> None:
    """What one writes, the other reads."""
    (tmp_path / "all").write_text(shell.text("sub", topic, "-o", "json"))
    shell.text("topic", "create", f"{topic}-copy", "--queues", "1")

    shell.text("pub", f"{topic}-copy", "--format", "json", "--file", "all")

    assert values(shell, f"{topic}-copy") == list(range(10))


def test_a_group_goes_on_where_it_was(shell: Shell, topic: str) -> None:
    """What was not written was not committed, although it was read ahead."""
    assert values(shell, topic, "--group", f"g-{topic}", "--count", "4") == [0, 1, 2, 3]
    assert values(shell, topic, "--group", f"g-{topic}") == [4, 5, 6, 7, 8, 9]
    assert values(shell, topic, "--group", f"g-{topic}") == []

    (group,) = [g for g in shell.json("group", "list") if g["group"] == f"g-{topic}"]
    assert (group["lag"], group["members"]) == (0, 0)


def test_a_group_may_read_from_followers(shell: Shell, topic: str) -> None:
    """Where it is, the leader knows as ever."""
    bounded = ("--group", f"s-{topic}", "--staleness", "5s")
    assert values(shell, topic, *bounded, "--count", "4") == [0, 1, 2, 3]
    assert values(shell, topic, *bounded) == [4, 5, 6, 7, 8, 9]


def test_a_group_shares_its_queues_out_as_it_is_told(shell: Shell, topic: str) -> None:
    """And a member may have a fixed name."""
    name = f"c-{topic}"
    options = ("--group", name, "--assignor", "cooperative", "--member", "desk-1", "--count", "3")
    assert len(values(shell, topic, *options)) == 3
    described = shell.json("group", "describe", name)
    assert described["subscription"]["assignor"] == "cooperative"
    assert [(each["member"], each["static"]) for each in described["members"]] == [
        ("desk-1", True)
    ]
    text = shell.text("group", "describe", name)
    assert "shares its queues out: cooperative\n" in text
    assert "member desk-1" in text
    told = shell.json("group", "subscribe", name, topic, "--assignor", "sticky")
    assert told == {"group": name, "version": 2}


@pytest.mark.long
def test_a_group_may_begin_at_the_end(shell: Shell, topic: str) -> None:
    """Where nothing was committed."""
    assert values(shell, topic, "--group", f"l-{topic}", "--from", "latest") == []


class Disturbed:
    """A client and its consumer, two of whose commits come after another member has joined."""

    def __init__(self) -> None:
        self.polls = [["a"], ["b"], [], [], ["c"]]
        self.commits: list[type[Exception] | None] = [Fenced, UnknownMember, None, None]
        self.offsets: list[int] = []
        self.handed = 0

    def consumer(self, *_: object, **__: object) -> Self:
        """Return the consumer."""
        return self

    async def __aenter__(self) -> Self:
        """Join."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave."""

    async def poll(self, count: int, **_: object) -> list[str]:
        """Return the next messages."""
        del count
        found = self.polls.pop(0)
        self.handed += len(found)
        return found

    async def commit(self) -> None:
        """Commit, or say who owns the queue now."""
        failure = self.commits.pop(0)
        if failure is not None:
            raise failure("generation 1 is over")
        self.offsets.append(self.handed)


def test_a_member_that_joins_does_not_end_the_others(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Their commit may come after it has claimed a queue: they go on, and commit again soon."""
    client = Disturbed()
    run = _Subscription("orders", lambda record: f"{record}\n".encode(), 3, is_following=True)

    asyncio.run(run.consume(client, "billing", "earliest"))  # type: ignore[arg-type]

    written, said = capfdbinary.readouterr()
    assert written == b"a\nb\nc\n"
    assert client.offsets == [2, 3], "without waiting for a next record"
    assert said.count(b"queues of billing changed hands") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["ordres"], Exit.FAILED, "did you mean 'orders'?"),
        (["orders", "--from", "yesterday"], Exit.USAGE, "'yesterday' is no position; write"),
        (["orders", "--from", "-1"], Exit.USAGE, "write one like -30s"),
        (["orders", "--from", "12"], Exit.FAILED, "offset 12 is beyond the end of orders"),
        (["orders", "--queue", "7"], Exit.FAILED, "no queue 7; it has 1, counted from 0"),
        (["orders", "--format", "%x"], Exit.USAGE, "'%x' at position 1, which means nothing"),
        (["orders", "--format", "%v", "-o", "json"], Exit.USAGE, "leave out -o json"),
        (["orders", "--group", "g", "--queue", "0"], Exit.USAGE, "leave out --queue"),
        (["orders", "--member", "m"], Exit.USAGE, "give --group"),
        (["orders", "--group", "g", "--assignor", "best"], Exit.FAILED, "no assignor"),
        (["orders", "--group", "g", "--from", "5"], Exit.USAGE, "raftlog group seek"),
        (["orders", "--group", "no good"], Exit.FAILED, "'-', not 'no good'; choose"),
        (["orders", "--staleness", "5"], Exit.USAGE, "'5' is no duration; write one like 500ms"),
        (["orders", "--staleness", "-1s"], Exit.USAGE, "'-1s' is no duration"),
        (["orders", "--staleness", "2d"], Exit.USAGE, "'2d' is too long; write 0s to 24h"),
        (["orders", "--staleness", "0s", "--from", "12"], Exit.FAILED, "beyond the end of orders"),
        (["orders", "--count", "0"], Exit.USAGE, "greater than or equal to 1"),
        ([], Exit.USAGE, "Missing argument 'TOPIC'"),
    ],
)
def test_mistakes_are_told_what_to_do(
    shell: Shell, arguments: list[str], code: Exit, complaint: str
) -> None:
    """On stderr, with nothing on stdout."""
    shell.text("topic", "create", "orders", "--queues", "1", "--if-not-exists")

    ran = shell("sub", *arguments)

    assert (ran.code, ran.out) == (code, ""), ran.err
    assert complaint in " ".join(ran.err.replace("│", " ").split())


# -- as a process: pipes and signals


@pytest.fixture
def following(shell: Shell, topic: str) -> Iterator["subprocess.Popen[str]"]:  # noqa: ARG001
    """A ``sub --follow`` that has written what there was."""
    process = subprocess.Popen(
        [sys.executable, "-m", "raftlog", "sub", topic, "--follow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert [line_of(process.stdout) for _ in range(10)] == [f"{n}\n" for n in range(10)]
    yield process
    process.kill()
    process.communicate()


def line_of(stream: IO[str] | None) -> str:
    """Read one line."""
    assert stream is not None
    return stream.readline()


def test_what_is_followed_comes_at_once(
    shell: Shell, topic: str, following: "subprocess.Popen[str]"
) -> None:
    """Not when a buffer is full."""
    shell.text("pub", topic, "10")

    assert line_of(following.stdout) == "10\n"


def test_ctrl_c_ends_it(following: "subprocess.Popen[str]") -> None:
    """With the shell's own code, and no traceback."""
    following.send_signal(signal.SIGINT)
    _, err = following.communicate(timeout=20)

    assert following.returncode == Exit.INTERRUPTED
    assert "Traceback" not in err


def test_a_reader_that_has_gone_ends_it_quietly(
    shell: Shell, topic: str, following: "subprocess.Popen[str]"
) -> None:
    """``raftlog sub orders --follow | head`` is an ordinary use."""
    assert following.stdout is not None
    following.stdout.close()
    following.stdout = None
    shell.text("pub", topic, "10")
    _, err = following.communicate(timeout=20)

    assert (following.returncode, err) == (0, "")
