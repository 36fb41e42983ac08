"""How many files a node may have open: each segment of its log is one, whoever reads it."""

import resource
import sys
from typing import Final

FEW: Final = 4_096
"""Enough for 250 GiB of log: who may have fewer is told so."""


def allow_many() -> int:
    """Raise this process's limit as far as the system lets it; return what it is then.

    The usual 1024 are reached by a log of 60 GiB, on all nodes at about the same moment, and a
    node that meets the limit can't be started again.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (hard, FEW):  # some systems name a higher limit than they allow
        if _files(soft) < _files(most):
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            except (OSError, ValueError):
                continue
            soft = most
    return _files(soft)


def _files(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
