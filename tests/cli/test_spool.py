"""``raftlog spool``: what waits in a spool, for a person and for a script; no cluster is asked."""

import asyncio
from pathlib import Path

import pytest

from raftlog import Client, Spool
from raftlog.cli.app import main
from raftlog.cli.exits import Exit
from tests.cli.conftest import Shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: object) -> Shell:
    """A shell without a cluster, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return Shell(capsys)  # type: ignore[arg-type]


def fill(*topics: str) -> None:
    """Put a record for each of ``topics`` into ``./spool``."""

    async def run() -> None:
        async with Client("127.0.0.1:1") as client, Spool(client, "spool") as spool:
            for topic in topics:
                await spool.send(topic, b"v")

    asyncio.run(run())


def test_it_shows_what_waits(shell: Shell) -> None:
    """By topic, and all together."""
    fill("orders", "bills", "orders")
    shown = shell("spool", "show", "spool")
    assert shown.code == Exit.DONE, shown.err
    assert shown.lines[0].startswith("spool: 3 records waiting, the oldest for ")
    assert shown.lines[0].endswith(" in 1 file")
    assert "orders" in shown.out
    assert "bills" in shown.out
    data = shell.json("spool", "show", "spool")
    assert (data["records"], data["files"], data["damage"]) == (3, 1, "")
    rows = {each["topic"]: each for each in data["topics"]}
    assert (rows["orders"]["records"], rows["orders"]["under_way"]) == (2, 0)
    assert rows["bills"]["bytes"] > 0
    assert data["oldest_ms"] == rows["orders"]["oldest_ms"]


def test_an_empty_one_has_nothing(shell: Shell) -> None:
    """And is good."""
    fill()
    assert shell.text("spool", "show", "spool") == "spool: 0 records waiting; 0 B in 0 files\n"
    assert shell.text("spool", "verify", "spool").startswith("spool is good")


def test_it_verifies(shell: Shell, tmp_path: Path) -> None:
    """4 if it is damaged, with file and place; a torn end is no damage, and told."""
    fill("orders", "orders")
    assert shell.text("spool", "verify", "spool").startswith("spool is good: ")
    (segment,) = (tmp_path / "spool").glob("*.spool")
    whole = segment.read_bytes()
    segment.write_bytes(whole + b"torn")
    torn = shell("spool", "verify", "spool")
    assert torn.code == Exit.DONE
    assert "4 bytes at the end were never promised" in torn.err

    segment.write_bytes(b"x" + whole[1:])
    for command in ("verify", "show"):
        damaged = shell("spool", command, "spool")
        assert damaged.code == Exit.DAMAGED
        assert damaged.out == ""
        assert f"damaged: spool/{segment.name} is damaged at 0" in damaged.err
        assert shell("spool", command, "spool", "-o", "json").data["damage"]


def test_what_is_no_spool_is_refused(shell: Shell, tmp_path: Path) -> None:
    """With the reason; nothing is made there."""
    for name in ("none", "."):
        ran = shell("spool", "show", name)
        assert ran.code == Exit.FAILED
        assert "no spool's" in ran.err
    assert list(tmp_path.iterdir()) == []
    assert main(["spool"]) == Exit.USAGE
