"""Options that several commands share: each is named and explained once."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from raftlog.server.config import Config

DEFAULT_CONFIG: Final = Path("cluster.yml")

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The cluster's configuration file.")
]
NodeOption = Annotated[str, typer.Option("--node", "-n", help="The node's name in the file.")]


def read_config(path: Path) -> "Config":
    """Read the file that ``--config`` names, under this process's environment.

    Raises:
        ConfigError: It is bad, or not there.
    """
    from raftlog.server.config import load_config  # noqa: PLC0415  (``--help`` stays fast)

    return load_config(path, os.environ)
