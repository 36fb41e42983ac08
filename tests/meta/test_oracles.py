"""The page about oracles is true, and what docstrings and comments name exists."""

import ast
import re
import tokenize
from io import StringIO
from pathlib import Path
from typing import Final

import pytest

from tests.oracles.test_etcd_interaction import MESSAGES_TOO, STOPS, WHOLE

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs/explanation/oracles.md").read_text("utf-8")
TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
CASES: Final = {"The log store": 40, "The Raft paper": 22, "etcd's `raft_test.go`": 63}
"""Rows of each list of cases."""

CODE: Final = ("raftlog", "chaos", "bench", "tests")
NAMED: Final = re.compile(
    r"(?<![\w/.-])((?:docs|tests|raftlog|chaos|bench|proto)/[\w./-]*\w\.(?:py|md|proto|toml|yml))\b"
)


def section(title: str) -> str:
    """Return the part of the page whose heading begins with ``title``."""
    (found,) = (part for part in PAGE.split("\n## ") if part.startswith(title))
    return found


@pytest.mark.parametrize(("path", "name"), sorted(set(TEST.findall(PAGE))))
def test_every_test_that_the_page_names_exists(path: str, name: str) -> None:
    """A renamed test takes its row along."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("title", CASES)
def test_every_case_has_a_test_or_a_reason(title: str) -> None:
    """No row is empty, and none is lost."""
    rows = re.findall(r"^\| (?!case |---)(.+?) \| (.+) \|$", section(title), re.MULTILINE)
    cases = [case for case, _ in rows]

    assert len(rows) == CASES[title]
    assert len(set(cases)) == len(cases)
    for case, answer in rows:
        assert TEST.fullmatch(answer) or answer.startswith("can't apply: "), case


def test_the_page_says_of_every_trace_how_far_it_is_followed() -> None:
    """As the lists in the test have it."""
    rows = re.findall(
        r"^\| `(\w+\.txt)` \| (.+?) \| (.+?) \| (.*?) ?\|$",
        section("etcd's interaction traces"),
        re.MULTILINE,
    )
    stops = {name: line for name, _, line in (stop.where.partition(":") for stop in STOPS)}

    assert {name for name, *_ in rows} == WHOLE | set(stops)
    for name, states, messages, stop in rows:
        assert (states == "all") is (name in WHOLE), name
        assert (messages == "all") is (name in MESSAGES_TOO), name
        assert stop.startswith(f"line {stops[name]}: " if name in stops else ""), name


@pytest.mark.parametrize("folder", CODE)
def test_every_path_that_a_docstring_or_a_comment_names_exists(folder: str) -> None:
    """A page that was never written, or a file that has moved."""
    missing = [
        f"{path.relative_to(ROOT)}:{number}: {named}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, text in prose(path.read_text("utf-8"))
        for named in NAMED.findall(text)
        if not (ROOT / named).exists()
    ]

    assert not missing, "\n" + "\n".join(missing)


def prose(source: str) -> list[tuple[int, str]]:
    """Return docstrings and comments with their lines."""
    comments = [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    docstrings = [
        (node.lineno, node.value.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    return comments + docstrings


def test_a_path_that_is_not_there_is_found() -> None:
    """In a docstring, below a name, and in a comment; not in code."""
    source = '"""See docs/a.md."""\nX = "docs/b.md"\n"""tests/c.py"""\n# raftlog/d.py\n'
    named = [found for _, text in prose(source) for found in NAMED.findall(text)]
    assert sorted(named) == ["docs/a.md", "raftlog/d.py", "tests/c.py"]
