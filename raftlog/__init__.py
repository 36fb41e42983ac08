"""A Raft-replicated commit log, and the topic store on it.

The names that programs use. Each is loaded when it is first asked for, so that
``import raftlog`` costs nothing and never imports grpc.

- ``RaftLog``, ``LogEntry``, ``Position``, ``Settings``, ``StateMachine``: the log as a library;
- ``Client``: a client of a cluster; with it ``Producer``, ``Consumer``, ``Reader`` and what they
  take and give (``Record``, ``Receipt``, ``BatchReceipt``, ``DelayedReceipt``, ``CancelOutcome``,
  ``DELAY_LEVELS``, ``Message``, ``MessageType``, ``StoredBatch``, ``Sharing``, ``Verdict``,
  ``UndecidedMessage``, ``AtomicTransaction``), and ``QueueConsumer`` with its
  ``QueueMessage``, ``Reject``, ``Retry`` and ``exponential_retry``;
  ``raftlog.sync.Client`` has the same names for threads;
- ``Spool``, ``BlockingSpool``: records on this machine's disk until the cluster has them;
- ``errors``: everything that is raised on purpose.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from raftlog import errors as errors
    from raftlog.base.message_types import MessageType as MessageType
    from raftlog.client.atomic import AtomicTransaction as AtomicTransaction
    from raftlog.client.checking import UndecidedMessage as UndecidedMessage
    from raftlog.client.checking import Verdict as Verdict
    from raftlog.client.client import Client as Client
    from raftlog.client.consumer import Consumer as Consumer
    from raftlog.client.handing_over import Sharing as Sharing
    from raftlog.client.later import DELAY_LEVELS as DELAY_LEVELS
    from raftlog.client.later import CancelOutcome as CancelOutcome
    from raftlog.client.later import DelayedReceipt as DelayedReceipt
    from raftlog.client.producer import Producer as Producer
    from raftlog.client.queue_consumer import QueueConsumer as QueueConsumer
    from raftlog.client.queue_message import QueueMessage as QueueMessage
    from raftlog.client.queue_message import Reject as Reject
    from raftlog.client.queue_message import Retry as Retry
    from raftlog.client.reader import Reader as Reader
    from raftlog.client.receipts import BatchReceipt as BatchReceipt
    from raftlog.client.receipts import Message as Message
    from raftlog.client.receipts import Receipt as Receipt
    from raftlog.client.receipts import StoredBatch as StoredBatch
    from raftlog.client.retry_schedules import exponential_retry as exponential_retry
    from raftlog.embedded import LogEntry as LogEntry
    from raftlog.embedded import Position as Position
    from raftlog.embedded import RaftLog as RaftLog
    from raftlog.embedded import Settings as Settings
    from raftlog.embedded import StateMachine as StateMachine
    from raftlog.spool.blocking import BlockingSpool as BlockingSpool
    from raftlog.spool.spool import Spool as Spool
    from raftlog.wire.batch import Record as Record

_HOMES: Final = {
    "DELAY_LEVELS": "raftlog.client.later",
    "AtomicTransaction": "raftlog.client.atomic",
    "BatchReceipt": "raftlog.client.receipts",
    "BlockingSpool": "raftlog.spool.blocking",
    "CancelOutcome": "raftlog.client.later",
    "Client": "raftlog.client.client",
    "Consumer": "raftlog.client.consumer",
    "DelayedReceipt": "raftlog.client.later",
    "LogEntry": "raftlog.embedded",
    "Message": "raftlog.client.receipts",
    "MessageType": "raftlog.base.message_types",
    "Position": "raftlog.embedded",
    "Producer": "raftlog.client.producer",
    "QueueConsumer": "raftlog.client.queue_consumer",
    "QueueMessage": "raftlog.client.queue_message",
    "RaftLog": "raftlog.embedded",
    "Reader": "raftlog.client.reader",
    "Receipt": "raftlog.client.receipts",
    "Record": "raftlog.wire.batch",
    "Reject": "raftlog.client.queue_message",
    "Retry": "raftlog.client.queue_message",
    "Settings": "raftlog.embedded",
    "Sharing": "raftlog.client.handing_over",
    "Spool": "raftlog.spool.spool",
    "StateMachine": "raftlog.embedded",
    "StoredBatch": "raftlog.client.receipts",
    "UndecidedMessage": "raftlog.client.checking",
    "Verdict": "raftlog.client.checking",
    "exponential_retry": "raftlog.client.retry_schedules",
}

__all__ = [
    "DELAY_LEVELS",
    "AtomicTransaction",
    "BatchReceipt",
    "BlockingSpool",
    "CancelOutcome",
    "Client",
    "Consumer",
    "DelayedReceipt",
    "LogEntry",
    "Message",
    "MessageType",
    "Position",
    "Producer",
    "QueueConsumer",
    "QueueMessage",
    "RaftLog",
    "Reader",
    "Receipt",
    "Record",
    "Reject",
    "Retry",
    "Settings",
    "Sharing",
    "Spool",
    "StateMachine",
    "StoredBatch",
    "UndecidedMessage",
    "Verdict",
    "errors",
    "exponential_retry",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name == "errors":
        return import_module("raftlog.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'raftlog' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """Show the public names before they are loaded."""
    return sorted([*globals(), *__all__])
