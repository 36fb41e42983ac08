"""The public module of errors."""

import raftlog
from raftlog import errors
from raftlog.base import errors as home

HOMES = (
    home.__name__,
    *(
        f"raftlog.base.{name}"
        for name in (
            "disk_errors",
            "error_root",
            "group_errors",
            "peer_errors",
            "topic_errors",
            "transaction_errors",
        )
    ),
)


def test_every_error_is_where_programs_look_for_it() -> None:
    """``raftlog.errors.X`` and ``from raftlog.errors import X`` are the same class."""
    from raftlog.errors import NotLeader  # noqa: PLC0415  (what is tested)

    assert raftlog.errors.NotLeader is NotLeader is home.NotLeader
    classes = {
        name
        for name, kind in vars(home).items()
        if isinstance(kind, type) and kind.__module__ in HOMES
    }
    assert set(errors.__all__) == classes
