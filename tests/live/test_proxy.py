"""A proxied link does to bytes what it is told, each way by itself."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from chaos.live.conditions import CLEAR, CUT, DEAF, MUTE, Condition, Way, combined, slow
from chaos.live.proxy import RESEND_S, Proxy
from raftlog.testing.processes import free_ports

pytestmark = pytest.mark.asyncio
SOON_S: Final = 5.0
SHORT_S: Final = 0.15


class Echo:
    """A server that sends back what it gets, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self.writers: list[asyncio.StreamWriter] = []
        self.address = ""
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while data := await reader.read(1 << 16):
                self.heard += data
                writer.write(data)
        except ConnectionError:
            pass
        self.ended.set()
        writer.close()


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    echo.address = f"{host}:{port}"
    yield echo
    server.close()
    for writer in echo.writers:
        writer.transport.abort()


@pytest_asyncio.fixture
async def link(echo: Echo) -> AsyncIterator[Proxy]:
    proxy = Proxy(echo.address)
    await proxy.open()
    yield proxy
    await proxy.aclose()


async def connect(link: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = link.address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, within_s: float
) -> bytes:
    writer.write(data)
    async with asyncio.timeout(within_s):
        return await reader.readexactly(len(data))


async def test_bytes_pass_both_ways(link: Proxy, echo: Echo) -> None:
    reader, writer = await connect(link)
    data = bytes(range(256)) * 4096
    assert await ask(reader, writer, data, SOON_S) == data
    assert (echo.heard, link.connections, link.resets) == (data, 1, 0)
    writer.close()


async def test_a_cut_keeps_the_connection_and_its_bytes(link: Proxy, echo: Echo) -> None:
    reader, writer = await connect(link)
    await ask(reader, writer, b"one", SOON_S)
    link.set(CUT)
    with pytest.raises(TimeoutError):
        await ask(reader, writer, b"two", SHORT_S)
    assert echo.heard == b"one"
    link.set(CLEAR)
    assert await asyncio.wait_for(reader.readexactly(3), SOON_S) == b"two"
    writer.close()


async def test_during_a_cut_nobody_is_told_of_an_end(link: Proxy, echo: Echo) -> None:
    reader, writer = await connect(link)
    await ask(reader, writer, b"one", SOON_S)
    link.set(CUT)
    writer.close()
    await asyncio.sleep(SHORT_S)
    assert not echo.ended.is_set()
    link.set(CLEAR)
    await asyncio.wait_for(echo.ended.wait(), SOON_S)


@pytest.mark.parametrize(("condition", "heard"), [(DEAF, b""), (MUTE, b"hello")])
async def test_one_way(link: Proxy, echo: Echo, condition: Condition, heard: bytes) -> None:
    reader, writer = await connect(link)
    await ask(reader, writer, b".", SOON_S)
    link.set(condition)
    with pytest.raises(TimeoutError):
        await ask(reader, writer, b"hello", SHORT_S)
    assert echo.heard == b"." + heard
    writer.close()


async def test_delay_and_bandwidth(link: Proxy) -> None:
    reader, writer = await connect(link)
    clock = asyncio.get_running_loop().time
    link.set(slow(0.1))
    began = clock()
    await ask(reader, writer, b"x", SOON_S)
    assert clock() - began >= 0.19
    link.set(slow(0.0, 100_000))
    began = clock()
    await ask(reader, writer, bytes(20_000), SOON_S)
    assert clock() - began >= 0.2
    writer.close()


async def test_reset_ends_both_ends(link: Proxy, echo: Echo) -> None:
    reader, writer = await connect(link)
    await ask(reader, writer, b"x", SOON_S)
    assert link.reset() == 1
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), SOON_S)
    await asyncio.wait_for(echo.ended.wait(), SOON_S)
    writer.close()


async def test_half_open_tells_one_end_only(link: Proxy, echo: Echo) -> None:
    reader, writer = await connect(link)
    await ask(reader, writer, b"x", SOON_S)
    assert link.forget() == 1
    await asyncio.wait_for(echo.ended.wait(), SOON_S)
    with pytest.raises(TimeoutError):
        await ask(reader, writer, b"y", SHORT_S)
    other = await connect(link)  # the link itself is good
    assert await ask(*other, b"z", SOON_S) == b"z"
    writer.close()
    other[1].close()


async def test_who_connects_to_a_target_that_is_gone_is_reset() -> None:
    (port,) = free_ports(1)
    proxy = Proxy(f"127.0.0.1:{port}")
    await proxy.open()
    reader, writer = await connect(proxy)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), SOON_S)
    assert (proxy.connections, proxy.resets) == (0, 1)
    writer.close()
    await proxy.aclose()


async def test_a_link_that_refuses(link: Proxy, echo: Echo) -> None:
    link.set(Condition(refuses=True))
    reader, writer = await connect(link)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), SOON_S)
    assert not echo.writers
    writer.close()


async def test_closing_ends_what_is_open(echo: Echo) -> None:
    proxy = Proxy(echo.address)
    await proxy.open()
    reader, writer = await connect(proxy)
    await ask(reader, writer, b"x", SOON_S)
    await proxy.aclose()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), SOON_S)
    with pytest.raises(OSError, match="onnect"):
        await connect(proxy)
    writer.close()


async def test_what_is_lost_waits_to_be_sent_again_and_what_comes_after_it_too(
    link: Proxy,
) -> None:
    reader, writer = await connect(link)
    clock = asyncio.get_running_loop().time
    link.set(Condition(there=Way(lost=0.5)))
    began = clock()
    for number in range(8):
        writer.write(b"%d" % number)
        await asyncio.sleep(0.02)
    assert await asyncio.wait_for(reader.readexactly(8), 4 * SOON_S) == b"01234567"
    assert 1 <= link.resent < 8
    assert clock() - began >= RESEND_S
    writer.close()


async def test_how_late_a_lost_piece_is(link: Proxy) -> None:
    way = Way(lost=0.5)
    drawn = [link.resend_s(way) for _ in range(1000)]
    steps = [0.0, 0.2, 0.6, 1.4, 3.0]
    assert sorted({round(each, 6) for each in drawn}) == steps
    assert 400 < sum(each > 0 for each in drawn) == link.resent < 600
    assert [link.resend_s(Way(lost=1.0)), link.resend_s(Way())] == [3.0, 0.0]


async def test_a_connection_is_torn_within_a_frame(link: Proxy, echo: Echo) -> None:
    reader, writer = await connect(link)
    await ask(reader, writer, b"whole", SOON_S)
    link.tear()
    writer.write(bytes(100))
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.readexactly(100), SOON_S)
    await asyncio.wait_for(echo.ended.wait(), SOON_S)
    assert 80 <= len(echo.heard) - len(b"whole") < 100
    assert (link.torn, link.resets) == (1, 1)
    writer.close()


async def test_what_is_not_torn_after_all_goes_on(link: Proxy) -> None:
    reader, writer = await connect(link)
    await ask(reader, writer, b"one", SOON_S)
    link.tear()
    link.tear(next_piece=False)
    assert await ask(reader, writer, b"two", SOON_S) == b"two"
    assert link.torn == 0
    writer.close()


async def test_connections_overtake_each_other_and_none_itself(link: Proxy, echo: Echo) -> None:
    pairs = [await connect(link) for _ in range(4)]
    for pair in pairs:
        await ask(*pair, b".", SOON_S)
    echo.heard = b""
    assert link.overtaken == 0
    link.set(Condition(there=Way(jitter_s=0.2)))
    for turn in range(10):
        for number, (_, writer) in enumerate(pairs):
            writer.write(b"%c" % (65 + number * 10 + turn))
            await asyncio.sleep(0.005)
    got = [await asyncio.wait_for(reader.readexactly(10), SOON_S) for reader, _ in pairs]
    assert got == [bytes(range(65 + 10 * each, 75 + 10 * each)) for each in range(4)]
    sent = bytes(65 + number * 10 + turn for turn in range(10) for number in range(4))
    assert sorted(echo.heard) == sorted(sent)
    assert echo.heard != sent
    assert link.overtaken > 0
    for _, writer in pairs:
        writer.close()


async def test_half_open_at_the_end_that_has_dialled(link: Proxy, echo: Echo) -> None:
    reader, writer = await connect(link)
    await ask(reader, writer, b"x", SOON_S)
    assert link.forget(target=False) == 1
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), SOON_S)
    (served,) = echo.writers
    served.write(b"as into a dead router")
    await asyncio.sleep(SHORT_S)
    assert not echo.ended.is_set()  # nobody has told it
    link.reset()
    await asyncio.wait_for(echo.ended.wait(), SOON_S)
    writer.close()


async def test_what_is_wrong_at_once_adds_up() -> None:
    lossy = Condition(there=Way(lost=0.1, jitter_s=0.3))
    assert combined([lossy, Condition(there=Way(lost=0.2)), slow(0.5)]) == Condition(
        Way(delay_s=0.5, lost=0.2, jitter_s=0.3), Way(delay_s=0.5)
    )
    assert combined([lossy, Condition(refuses=True)]).refuses
