"""Addresses as people write them: what is read, and what is said of what can't be."""

import pytest

from raftlog import Client
from raftlog.wire.address import parse_address, split_addresses


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a:1", ["a:1"]),
        ("a:1,b:2", ["a:1", "b:2"]),
        (" a:1, b:2 c:3,", ["a:1", "b:2", "c:3"]),
        (["a:1", "b:2"], ["a:1", "b:2"]),
        ("raftlog://a:1", ["a:1"]),
        ("raftlog://a:1/", ["a:1"]),
        ("RAFTLOG://a:1,b:2", ["a:1", "b:2"]),
        ("raftlog://a:1,[fd00::7]:2/", ["a:1", "[fd00::7]:2"]),
        ("raftlog://a:1,raftlog://b:2", ["a:1", "b:2"]),
        (["raftlog://a:1,b:2", "c:3"], ["a:1", "b:2", "c:3"]),
        ("[fe80::1%eth0]:1", ["[fe80::1%eth0]:1"]),
        ("", []),
    ],
)
def test_several_addresses_are_read(written: str | list[str], expected: list[str]) -> None:
    """In a list, in a text, in a URL."""
    assert split_addresses(written) == expected


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("raftlog://", "'raftlog://' is no address; write host:port, or raftlog://host:port"),
        ("raftlog://a", "'a' is no address; write host:port"),
        ("raftlog://a:1,b", "'b' is no address"),
        ("raftlog://me@a:1", "no user, path or option"),
        ("raftlog://a:1/orders", "no user, path or option"),
        ("raftlog://a:1?timeout=3", "no user, path or option"),
        ("http://a:1", "or raftlog://host:port; http:// is not understood"),
        ("a:1/", "no user, path or option"),
        ("::1:7201", r"in brackets: \[::1\]:7201"),
        ("raftlog://fd00::7:1", r"in brackets: \[::1\]:7201"),
        ("[a:1", "write host:port"),
        ("a:70000", "with a port of 1 to 65535"),
        ("a:\u0661", "with a port of 1 to 65535"),  # a digit, but not of a port
    ],
)
def test_the_refusal_says_how_to_write_it(written: str, advice: str) -> None:
    """Before anything is connected."""
    with pytest.raises(ValueError, match=advice):
        split_addresses(written)


def test_a_url_is_not_one_address() -> None:
    """Where one node is named, as in a configuration: several could be in it."""
    with pytest.raises(ValueError, match=r"'raftlog://a:1' is no address; write host:port$"):
        parse_address("raftlog://a:1")


@pytest.mark.parametrize("seeds", ["raftlog://a:1,b:2", ["raftlog://a:1", "b:2"]])
def test_a_client_takes_a_url(seeds: str | list[str]) -> None:
    """It knows the nodes by their addresses, as others tell them."""
    assert Client(seeds)._router.addresses == ["a:1", "b:2"]


def test_a_client_refuses_a_url_of_something_else() -> None:
    """When it is made, not when it has looked for a host of that name for its whole time."""
    with pytest.raises(ValueError, match="redis:// is not understood"):
        Client("redis://a:1")
