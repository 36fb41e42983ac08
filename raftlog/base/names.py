"""Names that users give: topics, consumer groups, members.

One rule for all of them, asked by the client before it sends and by the broker
in apply, so that neither can know a name that the other refuses.
"""

import re
from typing import Final

from raftlog.base.errors import BadName
from raftlog.base.limits import NAME_CHARACTERS_MAX

_NAME: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{NAME_CHARACTERS_MAX}}}")
SYSTEM_PREFIXES: Final = ("%", "__")
"""What begins so is the system's own."""


def check_name(name: str, what: str = "topic") -> str:
    """Return ``name`` if a user may call a ``what`` so.

    Raises:
        BadName: It is not 1 to 127 letters, digits, ``.``, ``_`` or ``-``, or is
            kept for the system.
    """
    if name.startswith(SYSTEM_PREFIXES):
        raise BadName(f"{what} names that begin with '%' or '__' are the system's: {_cut(name)}")
    if _NAME.fullmatch(name) is None:
        raise BadName(
            f"a {what} name is 1 to {NAME_CHARACTERS_MAX} letters, digits, '.', '_' or '-', "
            f"not {_cut(name)}"
        )
    return name


def is_text(value: object) -> bool:
    """Whether it is a text that UTF-8 can carry: without half of a surrogate pair."""
    return isinstance(value, str) and not any("\ud800" <= each <= "\udfff" for each in value)


def _cut(name: str) -> str:
    return repr(name if len(name) <= NAME_CHARACTERS_MAX else f"{name[:32]}...")
