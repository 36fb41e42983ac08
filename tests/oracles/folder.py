"""Where the public test data lies; a test that needs it skips when it is absent, saying so."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def oracle_folder(folder: str) -> Path:
    """Return where the data files of ``folder`` are, or would be."""
    root = Path(os.environ.get("RAFTLOG_ORACLES") or PROJECT.parent / "shared" / "oracles")
    return root / folder


def oracle_files(folder: str, pattern: str = "*.txt") -> list[Path]:
    """Return the data files of ``folder``; skip the test if the folder is absent."""
    path = oracle_folder(folder)
    if not path.is_dir():
        pytest.skip(f"no public test data at {path}: set RAFTLOG_ORACLES")
    files = sorted(path.glob(pattern))
    assert files, f"{path} holds no data files"
    return files
