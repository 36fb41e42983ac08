"""Options that several commands share: each is named and explained once."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeVar

import typer

from raftlog.cli.positions import read_position

if TYPE_CHECKING:
    from raftlog.server.config import Config, NodeConfig

T = TypeVar("T")

DEFAULT_CONFIG: Final = Path("cluster.yml")
DEFAULT_ADDRESS: Final = "127.0.0.1:7201"
DEFAULT_TIMEOUT_S: Final = 10.0
ENV_CONNECT: Final = "RAFTLOG_CONNECT"

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The cluster's configuration file.")
]
NodeOption = Annotated[str, typer.Option("--node", "-n", help="The node's name in the file.")]
ConnectOption = Annotated[
    str,
    typer.Option(
        "--connect",
        metavar="HOST:PORT,...",
        help="Client addresses of some nodes, also as raftlog://host:port,... "
        f"Else {ENV_CONNECT}, else those of ./cluster.yml, else {DEFAULT_ADDRESS}.",
    ),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds to try before giving up.")
]


def parsed(read: Callable[[str], T]) -> Callable[[str], T]:
    """Make a parser of an option from a function that raises ``ValueError`` with a sentence."""

    def parser(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parser


# -- where the cluster is


class Seeds(NamedTuple):
    """Addresses of some nodes, and who named them."""

    addresses: tuple[str, ...]
    source: str


def find_seeds(
    connect: str,
    environment: Mapping[str, str] | None = None,
    config: Path = DEFAULT_CONFIG,
) -> Seeds:
    """Find out where to connect: the option, the environment, the file here, the default.

    Raises:
        ConfigError: There is a ``cluster.yml`` here, and it is bad.
        typer.BadParameter: An address is none.
    """
    environment = os.environ if environment is None else environment
    if connect:
        return Seeds(_addresses(connect, "--connect"), "--connect")
    if named := environment.get(ENV_CONNECT, ""):
        return Seeds(_addresses(named, ENV_CONNECT), ENV_CONNECT)
    if config.is_file():
        return Seeds(tuple(read_config(config).seeds), str(config))
    return Seeds((DEFAULT_ADDRESS,), "the default")


def _addresses(text: str, source: str) -> tuple[str, ...]:
    from raftlog.wire.address import split_addresses  # noqa: PLC0415  (``--help`` stays fast)

    try:
        addresses = tuple(split_addresses(text))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=source) from None
    if not addresses:
        raise typer.BadParameter("names no address; write host:port,...", param_hint=source)
    return addresses


def find_node(config: "Config", name: str) -> "NodeConfig":
    """Return the node that ``--node`` names.

    Raises:
        ConfigError: The file names no such node.
        typer.BadParameter: None was named; those that could be are told.
    """
    if not name:
        which = " or ".join(f"--node {each}" for each in config.nodes)
        raise typer.BadParameter(f"say which node of {config.path}: {which}")
    return config.find(name)


def read_config(path: Path) -> "Config":
    """Read the file that ``--config`` names, under this process's environment.

    Raises:
        ConfigError: It is bad, or not there.
    """
    from raftlog.server.config import load_config  # noqa: PLC0415  (``--help`` stays fast)

    return load_config(path, os.environ)


FilterOption = Annotated[
    str,
    typer.Option(
        "--filter",
        metavar="CONDITION",
        help="Only records whose headers and tag meet it, like "
        "\"amount > 100 AND region IN ('eu', 'uk')\".",
        show_default=False,
    ),
]
AssignorOption = Annotated[
    str,
    typer.Option(
        "--assignor",
        metavar="NAME",
        help="How the group shares its queues out: range, sticky or cooperative. Else as it does.",
        show_default=False,
    ),
]
TagOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="TAG",
        help="Only records with this tag; given again: or with that one.",
        show_default=False,
    ),
]
PositionOption = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="POSITION",
        parser=parsed(read_position),
        help="earliest, latest, an offset, a time ago like -1h, or a moment like "
        "2026-11-25T09:00:00Z.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
]
