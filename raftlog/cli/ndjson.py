"""Records as lines of JSON, in both directions.

::

    {"key": "k", "value": "v", "headers": {"a": "1"}, "tag": "t", "id": "i"}    what pub reads
    {"topic": "t", "queue": 0, "offset": 7, "timestamp_ms": 1764061200000, ..}  sub adds

Bytes that are no UTF-8 text stand under ``key_base64`` and ``value_base64``, and
in headers as ``{"base64": ".."}``; a header that occurs twice is a list. A value
that is no text (an object, a number) is its JSON. What ``sub -o json`` writes,
``pub --format json`` reads; it takes no notice of where a record was before.
Fields that it does not know are refused: a misspelt one would be lost silently.
"""

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from typing import Final

import msgspec

from raftlog.base.errors import BadFormat
from raftlog.cli.formats import Fields

_PLACE: Final = frozenset({"topic", "queue", "offset", "timestamp_ms"})
_KNOWN: Final = frozenset({"key", "key_base64", "value", "value_base64", "headers", "tag", "id"})


class Outgoing(msgspec.Struct, frozen=True):
    """A record to be sent."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    tag: str | None = None
    id: str | None = None

    def completed(self, defaults: "Outgoing") -> "Outgoing":
        """Return it with what ``defaults`` has and it has not; of headers, name by name."""
        own = {name for name, _ in self.headers}
        others = tuple(pair for pair in defaults.headers if pair[0] not in own)
        return Outgoing(
            self.value,
            defaults.key if self.key is None else self.key,
            (*others, *self.headers),
            defaults.tag if self.tag is None else self.tag,
            defaults.id if self.id is None else self.id,
        )


# -- reading


def read_record(line: bytes, where: str) -> Outgoing:
    """Read one line; ``where`` names it for people.

    Raises:
        BadFormat: It is no such record. The text begins with ``where``.
    """
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadFormat(
            f'{where}: no JSON ({error}); write one object a line, like {{"value": "v"}}'
        ) from None
    if not isinstance(found, dict):
        raise BadFormat(f'{where}: {_kind(found)}; write an object, like {{"value": "v"}}')
    unknown = sorted(found.keys() - _KNOWN - _PLACE)
    if unknown:
        raise BadFormat(
            f"{where}: no field {unknown[0]!r} is known; use key, value, headers, tag, id, "
            "or key_base64 and value_base64 for bytes that are no text"
        )
    if "value" not in found and "value_base64" not in found:
        raise BadFormat(f"{where}: no value; add one, null for a record without")
    for name in ("key", "tag", "id"):
        if not isinstance(found.get(name), str | None):
            raise BadFormat(f"{where}: the {name} is {_kind(found[name])}; write a text or null")
    return Outgoing(
        _bytes(found, "value", where),
        _bytes(found, "key", where),
        _headers(found, where),
        found.get("tag"),
        found.get("id"),
    )


def _bytes(found: dict[str, object], name: str, where: str) -> bytes | None:
    coded = found.get(f"{name}_base64")
    if coded is not None:
        if found.get(name) is not None:
            raise BadFormat(f"{where}: both {name} and {name}_base64; write one of them")
        return _decoded(coded, f"{where}: {name}_base64")
    value = found.get(name)
    match value:
        case None:
            return None
        case str():
            return value.encode()
        case _:
            return msgspec.json.encode(value)


def _decoded(coded: object, what: str) -> bytes:
    try:
        if not isinstance(coded, str):
            raise BadFormat(f"{what} is {_kind(coded)}; write a text")
        return b64decode(coded, validate=True)
    except (NotBase64, ValueError):
        raise BadFormat(f"{what} is no base64; correct it") from None


def _headers(found: dict[str, object], where: str) -> tuple[tuple[str, bytes], ...]:
    headers = found.get("headers")
    if headers is None:
        return ()
    if not isinstance(headers, dict):
        raise BadFormat(
            f'{where}: headers are {_kind(headers)}; write an object, like {{"a": "1"}}'
        )
    pairs: list[tuple[str, bytes]] = []
    for name, value in headers.items():
        what = f"{where}: header {name!r}"
        values = value if isinstance(value, list) else [value]
        pairs.extend((name, _header(each, what)) for each in values)
    return tuple(pairs)


def _header(value: object, what: str) -> bytes:
    match value:
        case str():
            return value.encode()
        case {"base64": coded, **rest} if not rest:
            return _decoded(coded, what)
        case _:
            raise BadFormat(f'{what} is {_kind(value)}; write a text or {{"base64": ".."}}')


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


# -- writing


def record_line(record: Fields) -> bytes:
    """Write one record as a line."""
    return msgspec.json.encode(record_data(record)) + b"\n"


def record_data(record: Fields) -> dict[str, object]:
    """Return a record as JSON shows it."""
    found: dict[str, object] = {
        "topic": record.topic,
        "queue": record.queue,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
    }
    _put(found, "key", record.key)
    _put(found, "value", record.value)
    if record.headers:
        found["headers"] = _headers_data(record.headers)
    if record.tag is not None:
        found["tag"] = record.tag
    if record.id is not None:
        found["id"] = record.id
    return found


def _put(found: dict[str, object], name: str, value: bytes | None) -> None:
    try:
        found[name] = None if value is None else bytes(value).decode()
    except UnicodeDecodeError:
        assert value is not None
        found[f"{name}_base64"] = b64encode(value).decode()


def _headers_data(headers: Sequence[tuple[str, bytes]]) -> dict[str, object]:
    found: dict[str, list[object]] = {}
    for name, value in headers:
        try:
            shown: object = bytes(value).decode()
        except UnicodeDecodeError:
            shown = {"base64": b64encode(value).decode()}
        found.setdefault(name, []).append(shown)
    return {name: each[0] if len(each) == 1 else each for name, each in found.items()}
