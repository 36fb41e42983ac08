"""How a command uses a cluster: connect, do one thing, close.

Where it connects is said by ``options.find_seeds``. The mistake that is made
most often is that no cluster runs there: that is said soon, and with the name
of whoever named the address.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from raftlog.base.errors import Unavailable
from raftlog.cli.options import Seeds, find_seeds

if TYPE_CHECKING:
    from raftlog.client.client import Client

T = TypeVar("T")

SOON: Final = 0.3
"""The part of a command's time after which it believes that nobody listens."""
PAUSE_S: Final = 0.05


def ask(connect: str, timeout_s: float, use: "Callable[[Client], Awaitable[T]]") -> T:
    """Connect, run ``use`` with a client, close; return its result.

    Raises: what ``use`` raises, and
        Unavailable: Nobody listens there, or no leader was found.
    """
    from raftlog.client.client import Client  # noqa: PLC0415  (``--help`` stays fast)

    seeds = find_seeds(connect)

    async def run() -> T:
        await refuse_deaf(seeds, timeout_s * SOON)
        async with Client(seeds.addresses, timeout=timeout_s) as client:
            return await use(client)

    return asyncio.run(run())


async def refuse_deaf(seeds: Seeds, within_s: float) -> None:
    """Give up if every address refuses a connection for so long.

    Anything but a refusal (silence, an unknown host) is left to the client,
    which has more patience.

    Raises:
        Unavailable: Nobody listens.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while all(await asyncio.gather(*map(_refuses, seeds.addresses))):
        if loop.time() >= until:
            raise Unavailable(
                f"nobody listens at {', '.join(seeds.addresses)} ({_named_by(seeds.source)}); "
                "start a cluster with: raftlog dev, or say where one is with --connect"
            )
        await asyncio.sleep(PAUSE_S)


async def _refuses(address: str) -> bool:
    from raftlog.wire.address import parse_address  # noqa: PLC0415

    host, port = parse_address(address)
    try:
        async with asyncio.timeout(PAUSE_S):
            _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return False


def _named_by(source: str) -> str:
    return source if source == "the default" else f"as {source} says"
