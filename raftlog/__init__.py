"""A Raft-replicated commit log, and the topic store that is being built on it.

The names that programs use. Each is loaded when it is first asked for, so that
``import raftlog`` costs nothing and never imports grpc.

- ``RaftLog``, ``LogEntry``, ``Position``, ``Settings``, ``StateMachine``: the log as a library;
- ``LogClient``, ``Record``, ``Receipt``: a client of a cluster;
- ``errors``: everything that is raised on purpose.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from raftlog.base import errors as errors
    from raftlog.client.log_client import LogClient as LogClient
    from raftlog.client.receipts import Receipt as Receipt
    from raftlog.embedded import LogEntry as LogEntry
    from raftlog.embedded import Position as Position
    from raftlog.embedded import RaftLog as RaftLog
    from raftlog.embedded import Settings as Settings
    from raftlog.embedded import StateMachine as StateMachine
    from raftlog.wire.batch import Record as Record

_HOMES: Final = {
    "LogClient": "raftlog.client.log_client",
    "LogEntry": "raftlog.embedded",
    "Position": "raftlog.embedded",
    "RaftLog": "raftlog.embedded",
    "Receipt": "raftlog.client.receipts",
    "Record": "raftlog.wire.batch",
    "Settings": "raftlog.embedded",
    "StateMachine": "raftlog.embedded",
}

__all__ = [
    "LogClient",
    "LogEntry",
    "Position",
    "RaftLog",
    "Receipt",
    "Record",
    "Settings",
    "StateMachine",
    "errors",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name == "errors":
        return import_module("raftlog.base.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'raftlog' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """Show the public names before they are loaded."""
    return sorted([*globals(), *__all__])
