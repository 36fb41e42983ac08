"""A log of many segments needs as many open files."""

import resource

import pytest

from raftlog.server.open_files import allow_many


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


def test_a_system_that_does_not_let_it_is_no_reason_to_stop(
    limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it goes on with what it has."""

    def refuse(_what: int, _limits: tuple[int, int]) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (77, limits[1]))
    assert allow_many() == 77
