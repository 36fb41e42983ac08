"""Properties of the code itself, checked like any other behaviour.

What a review would say twice, a test says for ever. Every complaint reads
``file:line: what; do this instead``.
"""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Final

import pytest

PACKAGE: Final = Path(__file__).parents[2] / "raftlog"

LINES_PER_FILE_MAX: Final = 500
LINES_PER_FUNCTION_MAX: Final = 60
NESTING_MAX: Final = 4

BLOCKS: Final = (
    *(ast.If, ast.Match, ast.Try),
    *(ast.For, ast.AsyncFor, ast.While),
    *(ast.With, ast.AsyncWith),
)

VAGUE_STEMS: Final = frozenset({"common", "helpers", "manager", "misc", "util", "utils"})

PURE_LAYERS: Final = frozenset({"base", "raft", "broker", "wire"})
"""Layers in which the same input must always give the same output."""

BANNED_IN_PURE_LAYERS: Final = {
    "asyncio": "emit an effect; raftlog.node waits",
    "datetime": "take the time from the event",
    "grpc": "raftlog.gateway speaks gRPC",
    "logging": "emit an effect; the shell logs it",
    "os": "raftlog.storage touches files",
    "random": "take a Random in the constructor",
    "socket": "raftlog.transport touches sockets",
    "threading": "pure code has one caller at a time",
    "time": "take the time from the event",
    "uuid": "take ids from the event",
}

EXEMPT: Final = {("base/clock.py", "time"): "it is where time comes from"}


def test_code_is_tidy() -> None:
    """No module of the package earns a complaint."""
    complaints = [
        complaint
        for path in sorted(PACKAGE.rglob("*.py"))
        for complaint in tidy(path.relative_to(PACKAGE), path.read_text("utf-8"))
    ]

    assert not complaints, "\n" + "\n".join(complaints)


def test_the_exemptions_are_needed() -> None:
    """An exemption that nobody uses hides the next offence."""
    for name, module in EXEMPT:
        assert f"import {module}\n" in (PACKAGE / name).read_text("utf-8")


BAD_EXCEPT: Final = '"""x"""\ntry:\n    pass\nexcept:\n    pass\n'
LONG: Final = '"""x"""\ndef f():\n' + "    pass\n" * LINES_PER_FUNCTION_MAX
FUNCTION: Final = '"""x"""\nfrom random import Random, shuffle\n'
DEEP: Final = '"""x"""\ndef f():\n' + "".join(f"{' ' * 4 * n}if x:\n" for n in range(1, 6))


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("raft/log.py", "x = 1\n", "raft/log.py:1: no module docstring"),
        ("raft/utils.py", '"""x"""\n', "raft/utils.py:1: vague name"),
        ("node/helpers/x.py", '"""x"""\n', "node/helpers/x.py:1: vague name"),
        ("raft/log.py", '"""x"""\nimport time\n', "raft/log.py:2: time is banned"),
        ("raft/log.py", '"""x"""\nfrom os import path\n', "raft/log.py:2: os is banned"),
        (
            "broker/log.py",
            '"""x"""\nimport asyncio.events\n',
            "broker/log.py:2: asyncio.events is",
        ),
        ("raft/log.py", '"""x"""\nimport random\n', "raft/log.py:2: random is banned"),
        ("raft/log.py", FUNCTION, "raft/log.py:2: random is banned"),
        ("base/ids.py", '"""x"""\nimport time\n', "base/ids.py:2: time is banned"),
        ("raft/log.py", BAD_EXCEPT, "raft/log.py:4: bare except"),
        ("raft/log.py", LONG, "raft/log.py:2: f has 61 lines"),
        ("raft/log.py", DEEP + " " * 24 + "pass\n", "raft/log.py:2: f nests 5 deep"),
        ("raft/log.py", '"""x"""\n' + "\n" * LINES_PER_FILE_MAX, "raft/log.py:1: 501 lines"),
    ],
)
def test_each_mess_earns_one_complaint(name: str, source: str, expected: str) -> None:
    """The rules themselves work."""
    (complaint,) = tidy(PurePath(name), source)

    assert complaint.startswith(expected)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("node/ticker.py", "import time"),
        ("base/clock.py", "import time"),
        ("raft/core.py", "from random import Random"),
    ],
)
def test_the_bans_stop_where_they_should(name: str, line: str) -> None:
    """Impure layers and the clock read the time; a constructor names the type that it takes."""
    assert not list(tidy(PurePath(name), f'"""x"""\n{line}\n'))


def tidy(name: PurePath, source: str) -> Iterator[str]:
    """Yield every complaint about one module."""
    tree = ast.parse(source)
    if ast.get_docstring(tree) is None:
        yield f"{name}:1: no module docstring; say what the module is for"
    if not VAGUE_STEMS.isdisjoint(name.with_suffix("").parts):
        yield f"{name}:1: vague name; name the concept"
    if (lines := source.count("\n")) > LINES_PER_FILE_MAX:
        yield f"{name}:1: {lines} lines; two concepts live here"
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from tidy_function(name, node)
            case ast.ExceptHandler(type=None):
                yield f"{name}:{node.lineno}: bare except; name the errors you can handle"
            case ast.Import(names=aliases):
                yield from tidy_imports(name, node.lineno, [alias.name for alias in aliases])
            case ast.ImportFrom(module="random", names=[ast.alias(name="Random")]):
                pass  # the type of an argument; the functions of the module have global state
            case ast.ImportFrom(module=str(module)):
                yield from tidy_imports(name, node.lineno, [module])
            case _:
                pass


def tidy_function(name: PurePath, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Yield complaints about the length and the depth of one function."""
    doc = ast.get_docstring(node, clean=False)
    last = node.end_lineno or node.lineno
    lines = last - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
    if lines > LINES_PER_FUNCTION_MAX:
        yield f"{name}:{node.lineno}: {node.name} has {lines} lines; split off the straight parts"
    if (depth := nesting(node)) > NESTING_MAX:
        yield f"{name}:{node.lineno}: {node.name} nests {depth} deep; return early"


def tidy_imports(name: PurePath, line: int, modules: list[str]) -> Iterator[str]:
    """Yield complaints about imports that would make pure code impure."""
    if name.parts[0] not in PURE_LAYERS:
        return
    for module in modules:
        root = module.partition(".")[0]
        if root in BANNED_IN_PURE_LAYERS and (name.as_posix(), root) not in EXEMPT:
            advice = BANNED_IN_PURE_LAYERS[root]
            yield f"{name}:{line}: {module} is banned in pure layers; {advice}"


def nesting(node: ast.AST, level: int = 0) -> int:
    """Return how many blocks deep the deepest statement of ``node`` is."""
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    deepest = level
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, inner):
            # ``elif`` is an ``if`` inside an ``else`` to the parser, and no deeper to a reader.
            is_elif = isinstance(child, ast.If) and getattr(node, "orelse", None) == [child]
            is_block = isinstance(child, BLOCKS) and not (is_elif and isinstance(node, ast.If))
            deepest = max(deepest, nesting(child, level + is_block))
    return deepest
