"""A YAML file read strictly, with a place for every complaint.

A ``Section`` is one mapping of the file. It refuses unknown and repeated keys
when it is made and wrong types when it is read, and it knows the line and
column of each key and value, so that every error reads
``file:line:column: what is wrong; what to do``. It refuses to guess: no value
is converted from one type to another.
"""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from raftlog.base.errors import ConfigError
from raftlog.base.limits import MIB

DOCUMENT_BYTES_MAX: Final = 1 * MIB

_TYPE_NAMES: Final = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a fraction"),
    (str, "text"),
    (dict, "a mapping"),
    (list, "a list"),
)


class Section:
    """One mapping of a YAML file, of which only ``keys`` are allowed (None: any text)."""

    def __init__(
        self, file: str, title: str, content: CommentedMap, keys: Collection[str] | None
    ) -> None:
        self.file: Final = file
        self.title: Final = title
        self._content: Final = content
        for key in content:
            if not isinstance(key, str):
                raise self.at_key(key, f"{key!r} is not text; write it in quotes")
            if keys is not None and key not in keys:
                raise self.at_key(key, _unknown(key, title, keys))

    def __contains__(self, key: str) -> bool:
        """Whether the file gives ``key``."""
        return key in self._content

    def __iter__(self) -> Iterator[str]:
        """The keys, in the order of the file."""
        return iter(self._content)

    def __len__(self) -> int:
        """How many keys the file gives."""
        return len(self._content)

    # -- complaints

    def at_key(self, key: object, what: str) -> ConfigError:
        """Return an error at the place of ``key``, or of the section if it has none."""
        return self._error(self._content.lc.key(key) if key in self._content else None, what)

    def at_value(self, key: str, what: str) -> ConfigError:
        """Return an error at the place of the value of ``key``, likewise."""
        return self._error(self._content.lc.value(key) if key in self._content else None, what)

    def _error(self, place: tuple[int, int] | None, what: str) -> ConfigError:
        line, column = place or (self._content.lc.line, self._content.lc.col)
        return ConfigError(f"{self.file}:{line + 1}:{column + 1}: {what}")

    # -- values

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text; required if there is no default.

        Raises:
            ConfigError: It is missing, empty, or no text.
        """
        value = self._typed(key, str, default)
        assert isinstance(value, str), f"{key} is {type(value)}"
        if not value:
            raise self.at_value(key, f"{key} is empty; give a value or leave the line out")
        return str(value)

    def choice(self, key: str, allowed: Collection[str], default: str) -> str:
        """Return one of the ``allowed`` texts.

        Raises:
            ConfigError: It is another one, or no text.
        """
        value = self.text(key, default)
        if value not in allowed:
            raise self.at_value(key, f"{key} is {value!r}; write {' or '.join(allowed)}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a truth value.

        Raises:
            ConfigError: It is neither true nor false.
        """
        return bool(self._typed(key, bool, default))

    def number(self, key: str, default: int, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``.

        Raises:
            ConfigError: It is out of range, or no whole number.
        """
        value = self._typed(key, int, default)
        assert isinstance(value, int), f"{key} is {type(value)}"
        if not low <= value <= high:
            raise self.at_value(key, f"{key} is {value}; it must be {low} to {high}")
        return int(value)

    def section(self, key: str, keys: Collection[str] | None, title: str = "") -> "Section":
        """Return the mapping below ``key``, which is required.

        Raises:
            ConfigError: It is missing or no mapping, or has a key that is not known.
        """
        value = self._typed(key, dict, None)
        assert isinstance(value, CommentedMap), f"{key} is {type(value)}"
        return Section(self.file, title or key, value, keys)

    def _typed(self, key: str, kind: type, default: object) -> object:
        if key not in self._content:
            if default is None:
                raise self.at_key(key, f"{self.title} needs the key {key!r}; add it")
            return default
        value = self._content[key]
        if value is None:  # YAML places an absent value on the next line
            raise self.at_key(key, f"{key} is empty; give a value or leave the line out")
        # In Python true is an int; in a configuration it never is.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            wanted = dict(_TYPE_NAMES)[kind]
            raise self.at_value(key, f"{key} must be {wanted}, not {_kind_of(value)}")
        return value


def read_document(path: Path, title: str, keys: Collection[str]) -> Section:
    """Read the YAML file at ``path``, whose top level is a mapping with ``keys``.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or its top level is wrong.
    """
    file = str(path)
    try:
        raw = path.read_bytes()
        if len(raw) > DOCUMENT_BYTES_MAX:
            raise ConfigError(f"{file}:1:1: over {DOCUMENT_BYTES_MAX} bytes; is this the file?")
        content: Any = YAML().load(raw.decode("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{file}:1:1: cannot be read ({error.strerror or error}); give the path of a "
            "configuration file with --config"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}:1:1: byte {error.start} is not UTF-8; save it so") from error
    except YAMLError as error:
        raise _syntax_error(file, error) from error
    if not isinstance(content, CommentedMap):
        raise ConfigError(f"{file}:1:1: {title} is {_kind_of(content)}; write `key: value` lines")
    return Section(file, title, content, keys)


def _syntax_error(file: str, error: YAMLError) -> ConfigError:
    line = column = 0
    what = "this is no YAML"
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            line, column = mark.line, mark.column
        what = (error.problem or what).partition(" with value")[0]
    advice = "remove one of the two" if isinstance(error, DuplicateKeyError) else "correct it"
    return ConfigError(f"{file}:{line + 1}:{column + 1}: {what}; {advice}")


def _unknown(key: str, title: str, keys: Collection[str]) -> str:
    near = get_close_matches(key, keys, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(sorted(keys))}"
    return f"{title} has no key {key!r}; {advice}"


def _kind_of(value: object) -> str:
    if value is None:
        return "empty"
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), "another type")
