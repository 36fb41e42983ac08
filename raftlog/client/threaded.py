"""The client for threads, as what is built on it sees it: the spool, the relay of an outbox."""

from typing import Protocol

from raftlog.client.client import Client
from raftlog.client.loop_thread import LoopThread


class ThreadedClient(Protocol):
    """A ``raftlog.sync.Client``: a client, and the thread whose loop it lives on."""

    _thread: LoopThread
    _inner: Client
