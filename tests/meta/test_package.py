"""What the package promises as a whole: layers, light import, types, commands."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]


def modules_after(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after ``statement``."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return set(found)


def test_the_layers_point_downwards() -> None:
    """The contract in pyproject.toml is kept, and is exhaustive."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    assert contract["exhaustive"]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import raftlog", ("grpc", "asyncio", "google.protobuf")),
        ("import raftlog.wire.schema", ("grpc",)),
        ("import raftlog.server.lifecycle", ("grpc", "raftlog.client.client")),
        ("import raftlog.sql", ("grpc", "sqlalchemy")),
        ("import raftlog.redis", ("grpc",)),
        ("import raftlog.wire.batch", ("asyncio", "backports.zstd", "compression.zstd", "lz4")),
        ("import raftlog.server.lifecycle", ("grpc", "typer", "rich")),
        ("import raftlog.cli.app", ("grpc", "google.protobuf", "ruamel.yaml", "uvloop")),
    ],
)
def test_importing_brings_only_what_is_used(statement: str, absent: tuple[str, ...]) -> None:
    """Importing grpc costs a second and starts threads; ``raftlog --help`` must feel instant."""
    found = modules_after(statement)

    assert found.isdisjoint(absent)
    assert statement.removeprefix("import ") in found


def test_the_package_is_typed_and_its_schema_ships() -> None:
    """A user's mypy reads our types; a node without the schema could say nothing."""
    assert (ROOT / "raftlog/py.typed").is_file()
    assert (ROOT / "raftlog/wire/schema/raftlog.binpb").stat().st_size > 0
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["raftlog"]
    assert settings["project"]["scripts"] == {"raftlog": "raftlog.__main__:main"}


def test_without_assertions_nothing_starts() -> None:
    """Assertions stop a replica that would break its promises; ``-O`` removes them."""
    command = [sys.executable, "-O", "-m", "raftlog", "version"]

    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    assert done.returncode == 1
    assert "without -O" in done.stderr


def test_python_m_raftlog_is_the_command() -> None:
    """The supervisor starts nodes that way."""
    command = [sys.executable, "-m", "raftlog", "version"]

    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)

    assert version("raftlog") in done.stdout


def test_every_bound_is_positive_and_names_its_unit() -> None:
    """A limit without a unit is read in another one some day."""
    from raftlog.base import limits  # noqa: PLC0415  (read as data)

    units = ("BYTES", "_NS", "_MS", "TICKS", "MIB", "KIB", "PERCENT")
    counts = (
        *("MESSAGES", "COMMANDS", "RECORDS", "CONNECTION", "VOTERS", "LEARNERS", "PROPOSALS"),
        *("RPCS", "TOPICS", "QUEUES", "ROWS", "GROUPS", "MEMBERS", "CLAIMS", "OFFSETS"),
        *(
            "CHARACTERS",
            "DUE",
            "SHARES",
            "TAGS",
            "READS",
            "IDS",
            "QUOTAS",
            "CURSORS",
            "KEYS",
            "ATTEMPTS",
        ),
        *("DELAYS", "TRANSACTIONS", "TRANSACTORS", "DECISIONS", "INTERVALS", "CHECKS", "PARTS"),
    )
    found = {name: value for name, value in vars(limits).items() if name.isupper()}

    assert len(found) > 20
    for name, value in found.items():
        assert isinstance(value, int), name
        assert value > 0, name
        assert any(word in name for word in (*units, *counts)), f"{name} names no unit"
