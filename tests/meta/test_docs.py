"""The documents say what the code does: names are compared, both ways."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main

from raftlog.base.errors import RaftlogError
from raftlog.broker.snapshot import TableId
from raftlog.cli.app import PARTS, command_line
from raftlog.cli.exits import Exit
from raftlog.server import config, formation
from raftlog.storage import log_store
from raftlog.storage.identity import NODE_META
from tests.meta.test_errors import HOMES

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LINK: Final = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def text_of(name: str) -> str:
    """Return a document below ``docs``."""
    return (ROOT / "docs" / name).read_text("utf-8")


def first_cells(document: str) -> list[list[str]]:
    """Return the names in backquotes in the first column of every table row."""
    rows = re.findall(r"^\| (`[^|]*`) \|", document, re.MULTILINE)
    return [re.findall(r"`([^`]+)`", row) for row in rows]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """A moved file takes its links along, or this fails."""
    for target in LINK.findall(path.read_text("utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_told_to_make_can_be_made(path: Path) -> None:
    """The two commands of the README, and all others."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    quoted = re.findall(r"(?:^|`)make ([a-z][a-z-]*)", path.read_text("utf-8"), re.MULTILINE)

    assert set(quoted) <= targets
    if path.name == "README.md":
        assert {"demo", "test"} <= set(quoted)


def test_every_target_is_phony_and_explained() -> None:
    """``make`` alone shows them; a file of the same name must not stop one."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split()
    explained = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)

    assert sorted(phony) == sorted(explained)


# -- the command


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, with its whole name."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for part, inner in below.items():
        yield from commands(inner, f"{name} {part}")


def test_every_command_and_option_is_in_the_reference_and_no_other() -> None:
    """The reference is a table of commands with their options."""
    documented = {}
    for line in text_of("reference/cli.md").splitlines():
        if line.startswith("| `raftlog "):
            name, _, options = line.strip("| ").split(" | ")
            documented[name.strip("`")] = set(re.findall(r"--[a-z-]+", options))

    existing = {
        name: {
            option
            for parameter in command.params
            for option in parameter.opts
            if option.startswith("--") and option != "--help"
        }
        for name, command in commands(typer.main.get_command(command_line(*PARTS)), "raftlog")
    }

    assert documented == existing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_the_text_exist(path: Path) -> None:
    """Also those in how-to pages, options included."""
    existing = dict(commands(typer.main.get_command(command_line(*PARTS)), "raftlog"))
    for quoted in re.findall(r"`(raftlog [^`]+)`", path.read_text("utf-8")):
        found = [name for name in existing if f"{quoted} ".startswith(f"{name} ")]
        assert found, f"{path.name}: {quoted}"
        known = {option for each in existing[found[0]].params for option in each.opts}
        assert set(re.findall(r"(?<= )--?[a-z][a-z-]*", quoted)) <= known, f"{path.name}: {quoted}"


def test_every_exit_code_is_in_the_reference() -> None:
    """A script branches on them."""
    documented = re.findall(r"^\| (\d+) \|", text_of("reference/cli.md"), re.MULTILINE)

    assert [int(code) for code in documented] == [int(code) for code in Exit]


# -- errors, configuration, files


def family(root: type[RaftlogError]) -> Iterator[type[RaftlogError]]:
    """Yield an error class and all below it, as far as they are in the tree's module."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ in HOMES:
            yield from family(child)


def test_every_error_is_in_the_reference_with_its_promises() -> None:
    """Code, class, whether to retry, and what may have happened."""
    documented = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| (yes|no) \| ([a-z ]+) \|",
        text_of("reference/errors.md"),
        re.MULTILINE,
    )
    existing = [
        (kind.code, kind.__name__, "yes" if kind.retriable else "no", kind.outcome.value)
        for kind in family(RaftlogError)
        if "code" in vars(kind)
    ]

    assert sorted(documented) == sorted(existing)


def test_every_key_of_the_configuration_is_in_the_reference_and_no_other() -> None:
    """A key is found by its name."""
    documented = [name for (name,) in first_cells(text_of("reference/config.md"))]
    existing = [
        *config.ROOT_KEYS,
        *config.DISK_KEYS,
        *config.SCRUB_KEYS,
        *config.TIMING_KEYS,
        *(f"listen.{key}" for key in config.LISTEN_KEYS),
        *(f"advertise.{key}" for key in config.ADVERTISE_KEYS),
        *("dial.<node>", "data"),
    ]

    assert sorted(documented) == sorted(existing)
    assert set(config.NODE_KEYS) == {"listen", "advertise", "dial", "data"}


def test_the_defaults_in_the_reference_are_those_of_the_code(tmp_path: Path) -> None:
    """A default that changed and is told as it was misleads more than none."""
    path = tmp_path / "cluster.yml"
    path.write_text("cluster: c\ndata: d\nnodes: {n1: {listen: {peer: 'h:1', client: 'h:2'}}}\n")
    read = config.load_config(path)
    table = text_of("reference/config.md")
    defaults = {
        "shards": read.shards,
        "durability": f"`{read.durability}`",
        "unsafe": str(read.unsafe).lower(),
        "segment_mib": read.segment_bytes >> 20,
        "heartbeat_ms": read.timings.heartbeat_ms,
        "election_min_ms": read.timings.election_min_ms,
        "election_max_ms": read.timings.election_max_ms,
        "mib_per_s": read.scrub.bytes_per_s >> 20,
        "rest_minutes": read.scrub.rest_ns // config.MINUTE_NS,
    }

    for key, value in defaults.items():
        assert f"| `{key}` | {value} |" in table
    for name in (config.ENV_DATA, config.ENV_DURABILITY):
        assert f"`{name}`" in table


def test_every_file_is_in_the_reference() -> None:
    """Whoever finds one should find out what it is."""
    table = text_of("reference/files.md")

    for name in (NODE_META, log_store.HARD_STATE, log_store.DURABLE_MARK, formation.MARKER):
        assert f"/{name} " in table


# -- words and decisions


def test_every_table_of_a_snapshot_is_in_the_reference_and_no_other() -> None:
    """By number and name."""
    table = text_of("reference/files.md").split("## `<index>.tables`")[1]
    rows = {(int(number), name) for number, name in re.findall(r"(\d+) \| ([a-z ]+?) \|", table)}
    assert rows == {(each.value, each.name.lower().replace("_", " ")) for each in TableId}


@pytest.mark.parametrize(
    "word",
    [
        *("shard", "node", "replica", "entry", "index", "term", "commit", "applied", "durable"),
        *("queue", "offset", "record", "batch", "receipt", "machine", "write unit", "trim"),
        *("truncate", "formation", "watermark", "topic", "lease", "half message"),
    ],
)
def test_the_glossary_has_the_word(word: str) -> None:
    """One word for each thing needs a place that says which."""
    assert re.search(rf"^\| [^|]*\b{word}\b[^|]* \|", text_of("glossary.md"), re.MULTILINE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_queue_is_never_called_a_partition(path: Path) -> None:
    """Except where we speak of Kafka, whose word it is."""
    for line in path.read_text("utf-8").splitlines():
        assert "partition" not in line.lower() or path.name == "divergence.md", line


def test_decisions_are_numbered_without_gaps_and_by_their_title() -> None:
    """``docs/decisions/0004`` in a comment must lead to one page."""
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    numbers = [int(page.name[:4]) for page in pages]

    assert numbers == list(range(len(pages)))
    for number, page in zip(numbers, pages, strict=True):
        assert page.read_text("utf-8").startswith(f"# {number}. ")
