"""Where the public test data lies; a test that needs it skips when it is absent, saying so."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def oracle_files(folder: str) -> list[Path]:
    """Return the data files of ``folder``; skip the test if the folder is absent."""
    root = Path(os.environ.get("RAFTLOG_ORACLES") or PROJECT.parent / "shared" / "oracles")
    path = root / folder
    if not path.is_dir():
        pytest.skip(f"no public test data at {path}: set RAFTLOG_ORACLES")
    files = sorted(path.glob("*.txt"))
    assert files, f"{path} holds no data files"
    return files
