"""What an inspection of a data directory finds."""

from typing import Literal

import msgspec

Verdict = Literal["damage", "unfinished"]


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it was written."""

    file: str
    verdict: Verdict
    what: str
