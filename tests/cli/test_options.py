"""Where to connect, and how an error becomes a sentence."""

import asyncio
from pathlib import Path

import pytest
import typer

from raftlog.base.errors import (
    BadFormat,
    ConfigError,
    GroupNotFound,
    OutcomeUnknown,
    RaftlogError,
    TopicNotFound,
    Unavailable,
)
from raftlog.cli.connection import refuse_deaf
from raftlog.cli.exits import Exit, exit_of, sentence
from raftlog.cli.options import Seeds, find_seeds
from raftlog.testing.processes import free_ports

FILE = (
    "cluster: c\ndata: d\nnodes:\n"
    "  n1: {listen: {peer: 'h1:1', client: 'h1:2'}, advertise: {client: 'public:3'}}\n"
    "  n2: {listen: {peer: 'h2:1', client: 'h2:2'}}\n"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A ``cluster.yml`` that names two nodes."""
    path = tmp_path / "cluster.yml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("connect", "environment", "has_file", "expected"),
    [
        ("a:1", {"RAFTLOG_CONNECT": "b:1"}, True, Seeds(("a:1",), "--connect")),
        ("a:1, [::1]:2", {}, True, Seeds(("a:1", "[::1]:2"), "--connect")),
        ("raftlog://a:1,[::1]:2", {}, True, Seeds(("a:1", "[::1]:2"), "--connect")),
        ("", {"RAFTLOG_CONNECT": "raftlog://b:1"}, True, Seeds(("b:1",), "RAFTLOG_CONNECT")),
        ("", {"RAFTLOG_CONNECT": "b:1,c:2"}, True, Seeds(("b:1", "c:2"), "RAFTLOG_CONNECT")),
        ("", {"RAFTLOG_CONNECT": ""}, False, Seeds(("127.0.0.1:7201",), "the default")),
        ("", {}, False, Seeds(("127.0.0.1:7201",), "the default")),
    ],
)
def test_the_nearest_word_says_where(
    tmp_path: Path,
    config: Path,
    connect: str,
    environment: dict[str, str],
    has_file: bool,  # noqa: FBT001
    expected: Seeds,
) -> None:
    """The option, then the environment, then the file here, then the default."""
    path = config if has_file else tmp_path / "none.yml"

    assert find_seeds(connect, environment, path) == expected


def test_a_file_here_says_where_clients_reach_its_nodes(config: Path) -> None:
    """Not where they listen."""
    assert find_seeds("", {}, config) == Seeds(("public:3", "h2:2"), str(config))


@pytest.mark.parametrize("connect", ["here", "h:", ":1", "h:x", "h:70000", ",", "h:1,,h"])
def test_what_is_no_address_is_refused(connect: str) -> None:
    """Before anything is connected, and naming who said it."""
    with pytest.raises(typer.BadParameter) as by_option:
        find_seeds(connect, {})
    with pytest.raises(typer.BadParameter) as by_environment:
        find_seeds("", {"RAFTLOG_CONNECT": connect})

    assert by_option.value.param_hint == "--connect"
    assert by_environment.value.param_hint == "RAFTLOG_CONNECT"


def test_a_bad_file_here_is_refused(config: Path) -> None:
    """Rather than passed over for the default, which may be another cluster."""
    config.write_text("cluster: [")

    with pytest.raises(ConfigError):
        find_seeds("", {}, config)


def test_nobody_listening_is_told_soon_and_with_who_said_so() -> None:
    """The mistake that is made most often."""
    (port,) = free_ports(1)
    seeds = Seeds((f"127.0.0.1:{port}",), "RAFTLOG_CONNECT")

    with pytest.raises(Unavailable, match=r"nobody listens at .* \(as RAFTLOG_CONNECT says\); "):
        asyncio.run(refuse_deaf(seeds, 0.0))


def test_one_that_listens_is_enough() -> None:
    """The others may be down; and a name that can't be found is the client's to tell."""
    (free,) = free_ports(1)

    async def look() -> None:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1")
        port = server.sockets[0].getsockname()[1]
        async with server:
            await refuse_deaf(Seeds((f"127.0.0.1:{free}", f"127.0.0.1:{port}"), ""), 0.0)
        await refuse_deaf(Seeds((f"127.0.0.1:{free}", "no.such.host.invalid:1"), ""), 0.0)

    asyncio.run(look())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GroupNotFound("there is no group 'g'"), f"there is no group 'g'; {GroupNotFound.hint}"),
        (TopicNotFound("t"), f"there is no topic 't'; {TopicNotFound.hint}"),
        (TopicNotFound("t", "u"), "there is no topic 't'; did you mean 'u'?"),
        (ConfigError("f:1:1: bad"), "f:1:1: bad"),
        (Unavailable(""), Unavailable.hint),
    ],
)
def test_an_error_is_one_sentence_with_its_advice(error: RaftlogError, said: str) -> None:
    """The text's own, else that of its class."""
    assert sentence(error) == said


@pytest.mark.parametrize(
    ("error", "code"),
    [(BadFormat("x"), Exit.USAGE), (OutcomeUnknown("x"), Exit.UNKNOWN)],
)
def test_errors_of_records_have_exit_codes(error: RaftlogError, code: Exit) -> None:
    """A script must not send again what may be stored."""
    assert exit_of(error) is code
