"""Runs the ``console`` blocks of a page and compares what they print.

A line that begins with ``$ `` is a command for bash; the lines below it are what
it prints. ``...`` stands for any text within a line, and alone in a line for any
lines.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

HOW_TO: Final = Path(__file__).parents[2] / "docs" / "how-to"


class Command(msgspec.Struct, frozen=True):
    """A command, and what the page says that it prints."""

    text: str
    printed: str


def commands_of(page: str) -> list[Command]:
    """Return the commands of a how-to page, in order."""
    blocks = re.findall(r"```console\n(.*?)```", (HOW_TO / page).read_text("utf-8"), re.DOTALL)
    found: list[Command] = []
    for block in blocks:
        _, *parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
        for part in parts:
            text, _, printed = part.partition("\n")
            found.append(Command(text, printed))
    return found


def pattern_of(printed: str) -> str:
    """Return the regular expression that the real output has to match."""
    lines = []
    for line in printed.splitlines():
        if line == "...":
            lines.append(r"(?:.*\n)*")
        else:
            lines.append(re.escape(line).replace(r"\.\.\.", ".*") + r"\n")
    return "".join(lines)


def run_page(page: str, directory: Path, connect: str) -> None:
    """Run every command of a page, one after the other, against a cluster."""
    environment = {
        **os.environ,
        "RAFTLOG_CONNECT": connect,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    for command in commands_of(page):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command.text],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        shown = f"$ {command.text}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, shown
        assert re.fullmatch(pattern_of(command.printed), done.stdout), shown
