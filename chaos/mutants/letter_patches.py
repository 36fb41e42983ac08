"""Bugs of dead letters and of sending them again, as patches of the source."""

from typing import Final

from chaos.mutants.mutant import Mutant

_BURYING: Final = "raftlog.service.burying"
_CLIENT: Final = "raftlog.client.dead_letters"

LETTER_MUTANTS: Final = (
    Mutant(
        "letter sent again by its offset alone",
        _CLIENT,
        (
            (
                '    return f"dead-letter:{queue}:{offset}"\n',
                '    return f"dead-letter:{offset}"\n',
            ),
        ),
        rulings=(30,),
    ),
    Mutant(
        "letter sent again with the mark of the time before",
        _CLIENT,
        (
            (
                "        (*_without(message.headers, {RESENT}), (RESENT, ",
                "        (*message.headers, (RESENT, ",
            ),
        ),
    ),
    Mutant(
        "letter without its message's headers",
        _BURYING,
        (
            (
                "            return _letter(record, (*kept, *facts))\n",
                "            return _letter(record, facts)\n",
            ),
        ),
    ),
    Mutant(
        "letter tells the number of its queue instead of the place",
        _BURYING,
        (("str(queue.place).encode()", "str(queue.number).encode()"),),
    ),
)
