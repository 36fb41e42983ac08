"""Reads what etcd's interaction traces print: states, logs and messages, not its log text.

A directive's output holds blocks, one for each thing that a node did::

    > 2 handling Ready
      Ready MustSync=true:
      Lead:1 State:StateFollower
      HardState Term:1 Vote:1 Commit:2
      Entries:
      1/3 EntryNormal ""
      Messages:
      2->1 MsgAppResp Term:1 Log:0/3
    > 1 receiving messages
      2->1 MsgAppResp Term:1 Log:0/3

Messages and entries become one line each in one spelling, so that both sides
are compared as text. What a node says to its own threads is left out.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

HEADING: Final = re.compile(r"> (\d+) (handling|receiving|processing)")
SOFT_STATE: Final = re.compile(r"Lead:(\d+) State:State(\w+)")
HARD_STATE: Final = re.compile(r"HardState Term:(\d+)(?: Vote:(\d+))? Commit:(\d+)")
CONFIGURATION: Final = re.compile(
    r"INFO (\d+) switched to configuration (.*?)(?: autoleave)?$", re.MULTILINE
)
CHANGE: Final = "change"
"""How an entry that changes the members is spelled; what becomes of them is compared apart."""
ENTRY: Final = re.compile(r'(\d+)/(\d+) (Entry\w+)(?: ("(?:[^"\\]|\\.)*"))?')
MESSAGE: Final = re.compile(r"(?:dropped: )?(\w+)->(\w+) (Msg\w+) (.*)")
HEAD: Final = re.compile(
    r"Term:(\d+) Log:(\d+)/(\d+)(?: Rejected \(Hint: (\d+)\))?(?: Commit:(\d+))?"
)
RAFT_STATE: Final = re.compile(r"(\d+): State(\w+) \(([\w-]+)\) Term:(\d+) Lead:(\d+)")
STATUS: Final = re.compile(r"(\d+): State(\w+) match=(\d+) next=(\d+)(.*)")
IN_FLIGHT: Final = re.compile(r"inflight=(\d+)")
SECTIONS: Final = ("Entries:", "CommittedEntries:", "Messages:", "Processing:", "Responses:")


class Shown(msgspec.Struct):
    """What one directive shows of one node: None and empty where it shows nothing."""

    lead: int | None = None
    role: str | None = None
    term: int | None = None
    vote: int | None = None
    commit: int | None = None
    entries: list[str] = []
    committed: list[str] = []
    configuration: str | None = None
    """The newest one that is committed, as far as it has changed."""


class Transcript(msgspec.Struct):
    """What one directive's output says."""

    nodes: dict[int, Shown] = {}
    sent: list[str] = []
    handled: list[str] = []
    """Messages that were delivered or dropped by hand."""

    def of(self, node: int) -> Shown:
        """Return what is shown of ``node``."""
        return self.nodes.setdefault(node, Shown())


class Row(msgspec.Struct, frozen=True):
    """One follower in the output of ``status``."""

    node: int
    pace: str
    match: int
    next: int
    paused: bool
    in_flight: int


def spell_entry(term: int, index: int, data: str) -> str:
    """Return an entry in the one spelling; ``data`` is quoted."""
    return f"{term}/{index} {data}"


def spell_message(
    way: tuple[int, int],
    kind: str,
    name: tuple[int, int, int],
    *,
    hint: int | None = None,
    commit: int = 0,
    entries: tuple[str, ...] = (),
) -> str:
    """Return a message in the one spelling; ``name`` is its term, log term and index."""
    refused = "" if hint is None else f" refused, hint {hint}"
    return "{}->{} {} {} {}/{}".format(*way, kind, *name) + refused + f" c{commit} {entries}"


def read_entries(text: str) -> list[str]:
    """Return the entries named in ``text``."""
    return [
        spell_entry(
            int(found[1]),
            int(found[2]),
            CHANGE if found[3].startswith("EntryConfChange") else found[4] or '""',
        )
        for found in ENTRY.finditer(text)
    ]


def read_message(text: str) -> str | None:
    """Return a message in the one spelling, or None if a node says it to itself.

    Raises:
        ValueError: It does not parse.
    """
    found = MESSAGE.match(text)
    head = HEAD.match(found[4]) if found else None
    if found is None or head is None:
        raise ValueError(f"cannot read the message {text!r}")
    if found[1] == found[2] or not (found[1] + found[2]).isdecimal():
        return None
    return spell_message(
        (int(found[1]), int(found[2])),
        found[3],
        (int(head[1]), int(head[2]), int(head[3])),
        hint=None if head[4] is None else int(head[4]),
        commit=int(head[5] or 0),
        entries=tuple(read_entries(found[4][head.end() :])),
    )


def read_transcript(text: str, default: int) -> Transcript:
    """Return what ``text`` says; what stands under no heading is about node ``default``."""
    said = Transcript()
    shown = said.of(default)
    for found in CONFIGURATION.finditer(text):
        said.of(int(found[1])).configuration = found[2]
    doing, section = "handling", ""
    for line in _statements(text):
        if heading := HEADING.match(line):
            shown, doing, section = said.of(int(heading[1])), heading[2], ""
        elif soft := SOFT_STATE.match(line):
            shown.lead, shown.role = int(soft[1]), soft[2]
        elif hard := HARD_STATE.match(line):
            shown.term, shown.vote, shown.commit = int(hard[1]), int(hard[2] or 0), int(hard[3])
        elif line in SECTIONS:
            section = line
        elif MESSAGE.match(line):
            _note_message(said, line, doing, section)
        elif ENTRY.match(line) and section == "Entries:":
            shown.entries.extend(read_entries(line))
        elif ENTRY.match(line) and section == "CommittedEntries:":
            shown.committed.extend(read_entries(line))
    return said


def _note_message(said: Transcript, line: str, doing: str, section: str) -> None:
    """A Ready sends its messages, the append thread its responses; others are delivered."""
    message = read_message(line)
    if message is None or section == "Processing:":
        return
    sends = section == ("Messages:" if doing == "handling" else "Responses:")
    (said.sent if sends else said.handled).append(message)


def read_raft_states(text: str) -> dict[int, tuple[str, bool, int, int]]:
    """Return role, whether it votes, term and leader of each node."""
    return {
        int(found[1]): (found[2], found[3] == "Voter", int(found[4]), int(found[5]))
        for found in RAFT_STATE.finditer(text)
    }


def read_status(text: str) -> list[Row]:
    """Return the rows of ``status``."""
    rows: list[Row] = []
    for found in STATUS.finditer(text):
        in_flight = IN_FLIGHT.search(found[5])
        rows.append(
            Row(
                node=int(found[1]),
                pace=found[2],
                match=int(found[3]),
                next=int(found[4]),
                paused="paused" in found[5],
                in_flight=int(in_flight[1]) if in_flight else 0,
            )
        )
    return rows


def _statements(text: str) -> Iterator[str]:
    """Yield the lines, without log text, and with what is in brackets on one line."""
    joined = ""
    for line in text.splitlines():
        line = line.strip()
        if not joined and line.startswith(("INFO ", "DEBUG ", "WARN ", "ERROR ")):
            continue
        joined = f"{joined} {line}" if joined else line
        if MESSAGE.match(joined) and joined.count("[") > joined.count("]"):
            continue
        yield joined
        joined = ""
    assert not joined, f"a bracket stays open: {joined!r}"
