"""``raftlog group`` on a real node: lag, and what a seek changes."""

import pytest

from raftlog.cli.exits import Exit
from tests.cli.conftest import Shell


@pytest.fixture
def name(shell: Shell, request: pytest.FixtureRequest) -> str:
    """A group, and a topic of the same name with 5 records in each of 2 queues; 3 are done."""
    name = f"g-{abs(hash(request.node.name))}"
    shell.text("topic", "create", name, "--queues", "2")
    for queue in "01":
        shell.text("pub", name, "v", "--count", "5", "--queue", queue)
    shell.text("sub", name, "--group", name, "--count", "3")
    return name


def committed(shell: Shell, name: str) -> dict[int, int | None]:
    """Return the committed offset by queue."""
    queues = shell.json("group", "describe", name)["queues"]
    return {queue["queue"]: queue["committed"] for queue in queues}


def test_describe_tells_the_lag(shell: Shell, name: str) -> None:
    """In records and as a time, for each queue and for all."""
    group = shell.json("group", "describe", name)

    assert (group["group"], group["lag"], group["members"]) == (name, 7, [])
    assert sum(queue["lag"] for queue in group["queues"]) == 7
    assert {(queue["start"], queue["end"]) for queue in group["queues"]} == {(0, 5)}
    assert 0 < group["lag_ms"] < 600_000
    assert max(queue["lag_ms"] for queue in group["queues"]) == group["lag_ms"]
    text = shell.text("group", "describe", name)
    assert " age " in text
    assert ", 7 records behind\n" in text
    assert "no members" in text


def test_list_tells_the_lag(shell: Shell, name: str) -> None:
    """One row for each group."""
    rows = {row["group"]: row for row in shell.json("group", "list")}

    assert (rows[name]["lag"], rows[name]["members"]) == (7, 0)
    assert 0 < rows[name]["lag_ms"] < 600_000
    text = shell.text("group", "list")
    assert name in text
    assert " age " in text
    shell.text("group", "seek", name, "--to", "latest")
    rows = {row["group"]: row for row in shell.json("group", "list")}
    assert (rows[name]["lag"], rows[name]["lag_ms"]) == (0, 0)


def test_a_topic_that_is_read_no_more_is_shown_without_a_lag(shell: Shell, name: str) -> None:
    """Its offsets are kept: the group may come back to it."""
    shell.text("topic", "create", f"{name}-new", "--queues", "1")
    shell.text("group", "subscribe", name, f"{name}-new")

    group = shell.json("group", "describe", name)

    rows = [(row["topic"], row["read"], row["lag"]) for row in group["queues"]]
    assert rows == [(name, False, 0), (name, False, 0), (f"{name}-new", True, 0)]
    assert (group["lag"], group["lag_ms"]) == (0, 0)
    assert "(not read any more)" in shell.text("group", "describe", name)


def test_a_dry_run_shows_and_changes_nothing(shell: Shell, name: str) -> None:
    """The same rows as the real one."""
    before = committed(shell, name)

    planned = shell.json("group", "seek", name, "--to", "earliest", "--dry-run")

    assert committed(shell, name) == before
    assert not planned["done"]
    done = shell.json("group", "seek", name, "--to", "earliest")
    assert done["done"]
    assert done["queues"] == planned["queues"]
    assert committed(shell, name) == {0: 0, 1: 0}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--to", "latest"], {0: 5, 1: 5}),
        (["--to", "2"], {0: 2, 1: 2}),
        (["--to", "-1h"], {0: 0, 1: 0}),
        (["--to", "2100-01-01"], {0: 5, 1: 5}),
    ],
)
def test_a_seek_sets_every_queue(
    shell: Shell, name: str, arguments: list[str], expected: dict[int, int]
) -> None:
    """Forwards and backwards."""
    shell.text("group", "seek", name, *arguments)

    assert committed(shell, name) == expected


def test_a_seek_of_one_queue_leaves_the_other(shell: Shell, name: str) -> None:
    """Named by its topic and its place."""
    shell.text("group", "seek", name, "--to", "latest")

    told = shell.text("group", "seek", name, "--to", "1", "--topic", name, "--queue", "1")

    assert committed(shell, name) == {0: 5, 1: 1}
    assert "4 again" in told


def test_a_person_reads_what_it_means(shell: Shell, name: str) -> None:
    """How many records are passed over or come again."""
    shell.text("group", "seek", name, "--to", "0")

    ran = shell("group", "seek", name, "--to", "latest", "--dry-run")

    assert ran.out.startswith(f"group {name} would go on at latest\n")
    assert ran.out.count("5 passed over") == 2
    assert ran.err == "nothing was changed: --dry-run\n"


def test_delete_forgets_the_offsets(shell: Shell, name: str) -> None:
    """The next consumer begins at its start."""
    assert shell.json("group", "delete", name, "--yes") == {"deleted": name}

    refused = shell("group", "describe", name)
    assert refused.code == Exit.FAILED
    assert "raftlog group list" in refused.err


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["describe", "nobody"], Exit.FAILED, "raftlog group list"),
        (["describe"], Exit.USAGE, "Missing argument 'GROUP'"),
        (["list", "x"], Exit.USAGE, "unexpected extra argument"),
        (["list", "--timeout", "0"], Exit.USAGE, "0.1"),
        (["list", "--connect", ","], Exit.USAGE, "names no address"),
        (["seek", "NAME"], Exit.USAGE, "Missing option '--to'"),
        (["seek", "NAME", "--to", "soon"], Exit.USAGE, "'soon' is no position"),
        (["seek", "NAME", "--to", "9"], Exit.FAILED, "has offsets 0 to 5, not 9"),
        (["seek", "NAME", "--to", "0", "--topic", "NAMEs"], Exit.FAILED, "did you mean 'NAME'?"),
        (["seek", "NAME", "--to", "0", "--queue", "1"], Exit.USAGE, "name it with --topic"),
        (
            ["seek", "NAME", "--to", "0", "--topic", "NAME", "--queue", "9"],
            Exit.FAILED,
            "no queue 9",
        ),
        (["seek", "nobody", "--to", "0"], Exit.FAILED, "raftlog group list"),
        (["delete", "nobody", "--yes"], Exit.FAILED, "raftlog group list"),
        (["delete", "NAME"], Exit.USAGE, "give --yes"),
        (["remove-member", "NAME"], Exit.USAGE, "Missing argument 'MEMBER'"),
        (["remove-member", "NAME", "m"], Exit.USAGE, "give --yes"),
        (["remove-member", "NAME", "m", "--yes"], Exit.FAILED, "has no member 'm'"),
        (["delete"], Exit.USAGE, "Missing argument 'GROUP'"),
    ],
)
def test_mistakes_are_told_what_to_do(
    shell: Shell, name: str, arguments: list[str], code: Exit, complaint: str
) -> None:
    """On stderr, nothing on stdout, nothing changed."""
    before = committed(shell, name)

    ran = shell("group", *(each.replace("NAME", name) for each in arguments))

    assert (ran.code, ran.out) == (code, ""), ran.err
    assert complaint.replace("NAME", name) in " ".join(ran.err.replace("│", " ").split())
    assert committed(shell, name) == before


def test_the_seeks_of_a_group_are_told(shell: Shell, name: str) -> None:
    """When, from where, to where; of a time that has not come there are none."""
    shell.text("group", "seek", name, "--to", "1", "--queue", "0", "--topic", name)
    shell.text("group", "seek", name, "--to", "latest")

    told = shell.json("group", "seeks", name)
    first, second = told["seeks"]
    (move,) = first["queues"]
    assert (move["topic"], move["queue"], move["after"]) == (name, 0, 1)
    assert move["before"] in (0, 1, 2, 3)
    assert [each["after"] for each in second["queues"]] == [5, 5]
    assert first["entry"] < second["entry"]
    ran = shell("group", "seeks", name)
    assert len(ran.lines) >= 3
    assert f"2 seeks of {name} in " in ran.err
    assert shell.json("group", "seeks", name, "--since", "2100-01-01")["seeks"] == []
    assert shell("group", "seeks", name, "--since", "latest").code == 2
    shell.text("queue-group", "open", f"{name}-work", name)
    shell.text("queue-group", "seek", f"{name}-work", "--to", "latest")
    (seek,) = shell.json("group", "seeks", f"{name}-work")["seeks"]
    assert (seek["style"], seek["queues"][0]["before"]) == ("queue", None)
