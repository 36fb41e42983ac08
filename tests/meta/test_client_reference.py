"""The client's reference names what the classes have, with their parameters."""

import inspect
import re
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from raftlog import BatchReceipt, Client, DelayedReceipt, Message, Receipt, Record, StoredBatch
from raftlog.client.atomic import AtomicTransaction
from raftlog.client.checking import UndecidedMessage
from raftlog.client.consumer import Consumer
from raftlog.client.dead_letters import DeadLetters
from raftlog.client.groups import Groups
from raftlog.client.halves import Half, TransactionalProducer
from raftlog.client.health import ClusterHealth
from raftlog.client.hidden_tracing import HiddenTrace
from raftlog.client.later import DelayedMessages
from raftlog.client.members import Members
from raftlog.client.message_history import MessageEvent, MessageHistory
from raftlog.client.messages import Messages
from raftlog.client.producer import Producer
from raftlog.client.queue_groups import QueueGroups
from raftlog.client.queue_message import QueueMessage
from raftlog.client.quotas import Quotas
from raftlog.client.reader import Reader
from raftlog.client.search import Search
from raftlog.client.seek_history import GroupSeek, GroupSeeks, SeekMove
from raftlog.client.stepping import Stepping
from raftlog.client.topics import Topics
from raftlog.client.tracing import Trace, TracedGroup
from raftlog.client.transactions import OpenTransaction, Transactions
from raftlog.spool import Spool, SpooledRecord, SpoolStatus, TakenRecord

PAGE: Final = (Path(__file__).parents[2] / "docs/reference/client.md").read_text("utf-8")
CLASSES: Final = (
    Client,
    Producer,
    TransactionalProducer,
    Half,
    AtomicTransaction,
    Transactions,
    Consumer,
    QueueMessage,
    QueueGroups,
    DeadLetters,
    Reader,
    Topics,
    Groups,
    DelayedMessages,
    Members,
    Quotas,
    Messages,
    Search,
    GroupSeeks,
    MessageHistory,
    Spool,
    SpooledRecord,
)
VALUES: Final = (
    *(Record, Receipt, BatchReceipt, DelayedReceipt, Message, StoredBatch),
    *(OpenTransaction, UndecidedMessage, SpoolStatus, TakenRecord),
    *(Trace, TracedGroup, HiddenTrace, ClusterHealth),
    *(MessageEvent, GroupSeek, SeekMove),
)


def section(name: str) -> str:
    """Return the part of the page under a heading."""
    return PAGE.partition(f"## {name}\n")[2].partition("\n## ")[0]


def shown(kind: type[Any]) -> list[str]:
    """Return what the reference shows of a class: names, with their parameters."""
    names = []
    steps = (Stepping,) if issubclass(kind, Stepping) else ()
    owners = dict.fromkeys((*steps, *kind.__bases__, kind))
    members = [pair for owner in owners for pair in vars(owner).items()]
    for name, member in members:
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            names.append(name)
        elif callable(member):
            parts: list[str] = []
            for parameter in list(inspect.signature(member).parameters.values())[1:]:
                if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
                    parts.append("*")
                parts.append(parameter.name)
            names.append(f"{name}({', '.join(parts)})")
    return names


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_public_name_is_in_the_reference_and_no_other(kind: type[Any]) -> None:
    """A parameter that was renamed is found here, not by a user."""
    documented = re.findall(r"^\| `([^`]+)` \|", section(f"`{kind.__name__}`"), re.MULTILINE)
    assert documented == shown(kind)


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_every_field_of_a_value_is_in_the_reference(kind: type[Any]) -> None:
    """What a receipt tells is what programs are written against."""
    (row,) = re.findall(
        rf"^\| `{kind.__name__}` \| [^:]*: (.*) \|$", section("Values"), re.MULTILINE
    )
    fields = row.partition(", and ")[0]
    assert set(re.findall(r"`(\w+)`", fields)) == set(msgspec.structs.asdict(_any(kind)))


def _any(kind: type[Any]) -> Any:
    """Return some value of the class: its fields are asked for, not what is in them."""
    return kind(*(None for field in msgspec.structs.fields(kind) if field.required))
