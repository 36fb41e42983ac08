"""Addresses of nodes, as users write them."""


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of ``host:port``; an IPv6 host stands in brackets.

    Raises:
        ValueError: It is no address.
    """
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{address!r} is no address; write host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
