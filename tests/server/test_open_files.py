"""A log of many segments needs as many open files."""

import resource
import sys

import pytest

from raftlog.server.open_files import FEW, allow_many


@pytest.fixture
def limits() -> tuple[int, int]:
    """Return the limits of this process, which are put back."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def test_a_node_may_have_as_many_files_open_as_the_system_allows(limits: tuple[int, int]) -> None:
    """All nodes of a cluster would end at the same length of the log, and could not start."""
    soft, hard = limits
    few = min(soft, 512)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        assert allow_many() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class System:
    """One that allows fewer files than it says."""

    def __init__(self, soft: int, hard: int, allowed: int) -> None:
        self.limits = soft, hard
        self.allowed = allowed

    def get(self, _what: int) -> tuple[int, int]:
        """Return soft and hard limit."""
        return self.limits

    def set(self, _what: int, limits: tuple[int, int]) -> None:
        """Take new ones, or not."""
        if not 0 <= limits[0] <= self.allowed:
            raise ValueError("not allowed")
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "allowed", "found"),
    [
        (77, 5_000, 77, 77),
        (256, resource.RLIM_INFINITY, 10_240, FEW),
        (9_000, resource.RLIM_INFINITY, 10_240, 9_000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 0, sys.maxsize),
    ],
)
def test_a_system_that_does_not_let_it_is_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, allowed: int, found: int
) -> None:
    """Then it goes on with what it has, or with as many as are enough."""
    system = System(soft, hard, allowed)
    monkeypatch.setattr(resource, "setrlimit", system.set)
    monkeypatch.setattr(resource, "getrlimit", system.get)
    assert allow_many() == found
