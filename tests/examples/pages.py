"""Finds the runnable examples of a page."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

HOW_TO: Final = Path(__file__).parents[2] / "docs" / "how-to"


def examples_of(page: str) -> list[str]:
    """Return the Python blocks of a how-to page, in order."""
    return re.findall(r"```python\n(.*?)```", (HOW_TO / page).read_text("utf-8"), re.DOTALL)


def run_example(source: str, directory: Path) -> str:
    """Run an example as a program of its own; return what it prints."""
    program = directory / "example.py"
    program.write_text(source, "utf-8")
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
