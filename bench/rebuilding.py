"""The consumer's side: rebuilds the files, and says of every record whether it is the next one.

::

    line    0 1 2 4 3 4         of one file, as the consumer gets them
                  ^ ^ ^
                  | | seen before: duplicated
                  | comes after a later one: reordered
                  ahead: 3 is missing so far (lost, if it never comes)

Lines are hashed in the order in which they *should* come, so the hash of a
file is right if every line came, and the counts say how it came.
"""

import hashlib

import msgspec


class Rebuilt:
    """One file, as far as its lines have come."""

    __slots__ = ("ahead", "digest", "last", "next")

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.next = 0
        """The first line that has not come."""
        self.last = -1
        """The highest line that has come."""
        self.ahead: dict[int, bytes] = {}
        """Lines that came before an earlier one."""


class Comparison(msgspec.Struct, frozen=True):
    """What came, against what was sent."""

    files: int
    records: int
    lost: int
    duplicated: int
    reordered: int
    mismatches: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether every record came once, in order, and every file is as it was read."""
        return not (self.lost or self.duplicated or self.reordered or self.mismatches)


class Rebuilding:
    """All files of a corpus.

    Attributes:
        records: Records that came, duplicates included.
        duplicated: Records that had come before.
        reordered: Records that came after a later one of their file.
    """

    def __init__(self) -> None:
        self.records = 0
        self.duplicated = 0
        self.reordered = 0
        self._files: dict[bytes, Rebuilt] = {}

    def take(self, key: bytes, number: int, value: bytes) -> None:
        """Take the next record that came."""
        self.records += 1
        file = self._files.get(key)
        if file is None:
            file = self._files[key] = Rebuilt()
        if number == file.next and not file.ahead:
            file.digest.update(value)
            file.next = number + 1
            file.last = number
        else:
            self._take_oddly(file, number, value)

    def _take_oddly(self, file: Rebuilt, number: int, value: bytes) -> None:
        if number < file.next or number in file.ahead:
            self.duplicated += 1
            return
        if number < file.last:
            self.reordered += 1
        file.last = max(file.last, number)
        file.ahead[number] = value
        while (found := file.ahead.pop(file.next, None)) is not None:
            file.digest.update(found)
            file.next += 1

    def compare(self, sent: int, hashes: dict[bytes, str]) -> Comparison:
        """Compare with ``sent`` records of files with these hashes."""
        different = {
            key
            for key in hashes.keys() | self._files.keys()
            if key not in hashes
            or key not in self._files
            or self._files[key].digest.hexdigest() != hashes[key]
        }
        return Comparison(
            files=len(self._files),
            records=self.records,
            lost=max(0, sent - (self.records - self.duplicated)),
            duplicated=self.duplicated,
            reordered=self.reordered,
            mismatches=tuple(sorted(key.decode("utf-8", "backslashreplace") for key in different)),
        )
