"""What a user needs to try, to test with and to measure raftlog.

- ``LocalCluster``, ``NodeAddress``: a cluster of processes on this machine;
- ``raftlog.testing.pytest_plugin``: the fixtures ``raftlog_cluster`` and ``raftlog_client``;
- ``raftlog.testing.bench``: the bench.

Names are loaded when they are first asked for: pytest imports the plugin in
every run, also of people who never use it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from raftlog.testing.cluster import LocalCluster as LocalCluster
    from raftlog.testing.processes import NodeAddress as NodeAddress

_HOMES: Final = {
    "LocalCluster": "raftlog.testing.cluster",
    "NodeAddress": "raftlog.testing.processes",
}

__all__ = ["LocalCluster", "NodeAddress"]


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'raftlog.testing' has no attribute {name!r}")
    return getattr(import_module(home), name)
