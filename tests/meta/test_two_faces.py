"""``raftlog.sync`` has the names of ``raftlog.client``, with their arguments: all its classes."""

import inspect
import re
from typing import Any, Final, get_args, get_origin

import pytest

from raftlog import redis as aio_redis
from raftlog import spool, sql, sync
from raftlog.client.blocking import Face
from raftlog.redis import blocking as redis_blocking

assert spool, sql  # so that their faces are known, too
assert sync

OTHER_NAMES: Final = {"aclose": "close"}
INNER: Final = {
    "AtomicTransaction": {"leave", "refuse"},
    "Client": {"on_closed"},
    "QueueConsumer": {"acked_in_transaction", "begin", "say"},
    "QueueMessage": {"held", "transaction"},
}
"""Names that one part of the SDK has for another one, and not for users."""


def inner_of(face: type[Face[Any]]) -> type[Any]:
    """Return the class whose face it is."""
    bases = face.__orig_bases__  # type: ignore[attr-defined]
    (inner,) = next(get_args(base) for base in bases if get_origin(base) is Face)
    assert isinstance(inner, type)
    return inner


def faces() -> list[tuple[type[Any], type[Any]]]:
    """Return every pair that there is, found by how a face is written."""
    shown = [each for each in Face.__subclasses__() if each.__module__.startswith("raftlog.")]
    return [(inner_of(face), face) for face in shown]


FACES: Final = [
    *faces(),
    (aio_redis.Processed, redis_blocking.Processed),
]


def public(kind: type[Any]) -> set[str]:
    """Return the names that a class has for users; attributes, too, as its docstring has them."""
    _, _, attributes = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    told = re.findall(r"^    (\w+): ", attributes, re.MULTILINE)
    return {name for name in (*dir(kind), *told) if not name.startswith("_")}


def test_all_faces_are_found() -> None:
    """Those of the client, of the spool and of the outbox."""
    names = {face.__name__ for _, face in FACES}
    assert {"Client", "QueueMessage", "Half", "AtomicTransaction", "Topics"} <= names
    assert {"BlockingSpool", "BlockingRelay", "Search", "Processed"} <= names


@pytest.mark.parametrize(
    ("asynchronous", "blocking"), FACES, ids=[face.__name__ for _, face in FACES]
)
def test_the_two_faces_have_the_same_names_and_arguments(
    asynchronous: type[Any], blocking: type[Any]
) -> None:
    """Whoever knows one knows the other."""
    inner = INNER.get(asynchronous.__name__, set())
    names = public(asynchronous) - inner
    assert public(blocking) == {OTHER_NAMES.get(name, name) for name in names}
    for name in names:
        one = getattr(asynchronous, name, None)
        other = getattr(blocking, OTHER_NAMES.get(name, name))
        assert inspect.getdoc(other), name
        if inspect.isroutine(one):
            mine, theirs = (list(inspect.signature(each).parameters) for each in (one, other))
            assert mine[1:] == theirs[1:], name
        else:
            assert isinstance(other, property), f"{name} is asked for without ()"
