"""Addresses of nodes, as users write them: one is ``host:port``, several have commas between.

::

    orders1:7201
    orders1:7201,[fd00::7]:7201
    raftlog://orders1:7201,[fd00::7]:7201     the same, where a URL is wanted

The URL says nothing that the addresses do not: a user, a path or an option in it is refused,
for it would be passed over in silence. Only clients connect to several nodes, so a URL is
understood by ``split_addresses``, and where one address is wanted it is refused.
"""

import re
from collections.abc import Iterable
from typing import Final

SCHEME: Final = "raftlog://"
_HOST: Final = re.compile(r"\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[^\s:/@?#\[\],]+")


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of ``host:port``; an IPv6 host stands in brackets.

    Raises:
        ValueError: It is no address.
    """
    host, _, port = address.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and int(port) <= 65_535
    if not is_port or _HOST.fullmatch(host) is None:
        raise ValueError(f"{address!r} is no address; {_advice(address)}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def split_addresses(written: str | Iterable[str]) -> list[str]:
    """Return the addresses that users name, each as ``host:port``, in their order.

    ``written`` has them with commas or spaces between, or is a sequence of such texts; each
    text may be a URL ``raftlog://host:port,host:port``.

    Raises:
        ValueError: One of them is no address.
    """
    addresses = []
    for text in [written] if isinstance(written, str) else written:
        is_url = False
        for part in text.replace(",", " ").split():
            address = part
            if part.lower().startswith(SCHEME):
                is_url, address = True, part[len(SCHEME) :]
            # Programs that put URLs together end them with a slash.
            address = address.removesuffix("/") if is_url else address
            parse_address(address or part)
            addresses.append(address)
    return addresses


def _advice(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    if separator and scheme.lower() + separator != SCHEME:
        return f"write host:port, or {SCHEME}host:port; {scheme}:// is not understood"
    if separator:
        return "write host:port" if rest else f"write host:port, or {SCHEME}host:port"
    if any(character in address for character in "/@?#"):
        return "write host:port, and no user, path or option"
    host, _, port = address.rpartition(":")
    if port and _HOST.fullmatch(host) is not None:
        return "write host:port, with a port of 1 to 65535"
    if ":" in host and "[" not in address:
        return "write host:port, with an IPv6 host in brackets: [::1]:7201"
    return "write host:port"
