"""Bugs of searches, as patches of the source: what is looked at, found, and said to be all."""

from typing import Final

from chaos.mutants.mutant import Mutant

_SEARCHES: Final = "raftlog.wire.searches"
_PICK_TESTS: Final = ("tests/wire/test_searches.py",)
_HANDLER: Final = "raftlog.service.record_handlers"
_HANDLER_TESTS: Final = ("tests/service/test_search.py",)
_CLIENT: Final = "raftlog.client.search"
_CLIENT_TESTS: Final = ("tests/client/test_search.py",)

SEARCH_MUTANTS: Final = (
    Mutant(
        "search by key ends with a batch's first match",
        _SEARCHES,
        (("= opened.with_key(key)\n", "= opened.with_key(key)[:1]\n"),),
        tests=_PICK_TESTS,
    ),
    Mutant(
        "hash of a key taken for the key",
        _SEARCHES,
        (
            (
                "            return Selection((), header.table_length)\n    opened",
                (
                    "            return Selection((), header.table_length)\n"
                    "        if hashes is not None:\n"
                    "            return Selection(range(len(hashes)), header.table_length)\n"
                    "    opened"
                ),
            ),
        ),
        tests=_PICK_TESTS,
    ),
    Mutant(
        "search by id and key finds what has either",
        _SEARCHES,
        (
            (
                "            if not found.numbers:\n                return found\n",
                "            if found.numbers:\n                return found\n",
            ),
        ),
        tests=_PICK_TESTS,
    ),
    Mutant(
        "search of what this node happens to have",
        _HANDLER,
        (("message.bytes_max, staleness_ns=0),", "message.bytes_max),"),),
        tests=_HANDLER_TESTS,
        rulings=(23,),
    ),
    Mutant(
        "search looks beyond the end it was given",
        _HANDLER,
        (("LookedAt(Offset(end) if end else None,", "LookedAt(None,"),),
        tests=_HANDLER_TESTS,
    ),
    Mutant(
        "search ends with the first stretch that holds nothing",
        "raftlog.client.stepping",
        (
            (
                "        while not self._found:\n            if not await self._advance():\n",
                (
                    "        if not self._found:\n"
                    "            if not (await self._advance() and self._found):\n"
                ),
            ),
        ),
        tests=_CLIENT_TESTS,
    ),
    Mutant(
        "search passes over what retention took away without a word",
        _CLIENT,
        (("        self._skipped += to - stretch.offset\n", "        pass\n"),),
        tests=_CLIENT_TESTS,
    ),
    Mutant(
        "search says that it looked at all",
        _CLIENT,
        (
            (
                "        stretch.offset = Offset(answer.next_offset)\n",
                "        stretch.offset = stretch.end\n",
            ),
        ),
        tests=_CLIENT_TESTS,
    ),
)
