"""Codecs: how the payload of a batch is compressed, by whoever made it, for whoever reads it.

A broker stores and serves what it got and never opens it, so a codec costs the
nodes nothing and needs no package there. The packages are optional
(``raftlog[zstd]``, ``raftlog[lz4]``) and are imported with the first batch that
needs them.

A compressed payload is one frame of its format, alone. What a frame *claims* to
hold costs nothing: it is opened into a bounded buffer, and one that holds more,
or wants a larger window than 8 MiB, is refused.
"""

import sys
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, CodecUnavailable


class Codec(IntEnum):
    """The codec byte of a batch header. A number is never used again for something else."""

    NONE = 0
    ZSTD = 1
    LZ4 = 2


CODEC_NAMES: Final = {codec.name.lower(): codec for codec in Codec}
"""What users write: ``"none"``, ``"zstd"``, ``"lz4"``."""
_ZSTD_WINDOW_LOG_MAX: Final = 23
"""8 MiB, what every decoder should open (RFC 8878, 3.1.1.1.2); a batch needs half of it."""


def codec_named(name: str) -> Codec:
    """Return the codec that users call ``name``, when it can be used here.

    Raises:
        CodecUnavailable: There is none of that name, or its package is not installed.
    """
    codec = CODEC_NAMES.get(name)
    if codec is None:
        raise CodecUnavailable(f"no codec is named {name!r}; there are {', '.join(CODEC_NAMES)}")
    if codec is not Codec.NONE:
        _package(codec)
    return codec


def compress(codec: Codec, data: Buffer) -> bytes:
    """Return ``data`` as one frame of ``codec``, at the package's own level.

    Raises:
        CodecUnavailable: The package is not installed.
    """
    package = _package(codec)
    # zstd: 3 of 22, its default; lz4: the fast one. The size in the frame helps who reads it.
    options = {"store_size": True} if codec is Codec.LZ4 else {}
    frame: bytes = package.compress(data, **options)
    return frame


def decompress(codec: int, data: Buffer, bytes_max: int) -> bytes:
    """Return what one frame holds; never more than ``bytes_max`` are made.

    Raises:
        BadBatch: It is no such frame, is cut short, has something behind it, or
            holds more; or no codec has this number.
        CodecUnavailable: The package is not installed.
    """
    if codec not in _DECOMPRESSORS:
        raise BadBatch(
            f"codec {codec}: a newer producer wrote this batch; read it with that version of "
            "raftlog"
        )
    package = _package(Codec(codec))
    decompressor = _DECOMPRESSORS[codec](package)
    try:
        # One byte more than allowed tells "exactly full" from "too much".
        opened: bytes = decompressor.decompress(data, max_length=bytes_max + 1)
    except (_errors_of(package), EOFError) as error:
        raise BadBatch(
            f"the {Codec(codec).name.lower()} payload does not open: {error}"
        ) from error
    if len(opened) > bytes_max:
        raise BadBatch(f"the payload of a batch opens to more than {bytes_max} bytes")
    if not decompressor.eof or decompressor.unused_data:
        raise BadBatch("the payload of a batch is not one whole frame")
    return opened


def _open_zstd(package: ModuleType) -> Any:
    largest = {package.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX}
    return package.ZstdDecompressor(options=largest)


def _open_lz4(package: ModuleType) -> Any:
    return package.LZ4FrameDecompressor()


_DECOMPRESSORS: Final[dict[int, Callable[[ModuleType], Any]]] = {
    Codec.ZSTD: _open_zstd,
    Codec.LZ4: _open_lz4,
}
_MODULES: Final = {
    # The backport is the standard library's module of 3.14, under another name.
    Codec.ZSTD: "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd",
    Codec.LZ4: "lz4.frame",
}


@cache
def _package(codec: Codec) -> ModuleType:
    """Import it. A failure is not remembered: the package may be installed later."""
    try:
        return import_module(_MODULES[codec])
    except ImportError as error:
        name = codec.name.lower()
        raise CodecUnavailable(
            f"batches in {name} need a package that is not installed: "
            f"pip install 'raftlog[{name}]'"
        ) from error


def _errors_of(package: ModuleType) -> type[Exception]:
    """Return what the package raises at a bad frame; lz4 has no class of its own."""
    error: type[Exception] = getattr(package, "ZstdError", RuntimeError)
    return error
