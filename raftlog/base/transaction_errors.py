"""Errors of transactions. Part of the tree in ``errors``."""

from raftlog.base.error_root import Refused


class UnknownTransactor(Refused):
    """Nobody has this transactor id: it was silent for too long, or never began."""

    code = "unknown_transactor"
    hint = "begin again under the same name; what was open is still checked and can be resolved"


class TransactionNotFound(Refused):
    """No transaction has this number: it was never opened."""

    code = "transaction_not_found"
    hint = "stage its message first; a roll-back needs none"


class TransactionDecided(Refused):
    """The transaction was decided, and not in this way."""

    code = "transaction_decided"
    hint = "what was decided first stands"


class TransactionForgotten(Refused):
    """The transaction was decided so long ago that nobody knows how."""

    code = "transaction_forgotten"
    hint = "read the topic to see whether the message is there"


class TransactionExpired(Refused):
    """A staged part of the transaction is not there any more; nothing of it was committed."""

    code = "transaction_expired"
    hint = "send it again as a new transaction"


class TransactionTooLarge(Refused):
    """A transaction is over its limit: of bytes, records or acknowledgements."""

    code = "transaction_too_large"
    hint = "divide it, or send what need not be atomic on its own"


class CrossShard(Refused):
    """The transaction has parts in more than one shard."""

    code = "cross_shard"
    hint = "keep the topics that are written together in one shard"


class ForeignTransaction(Refused):
    """The transaction belongs to another group."""

    code = "foreign_transaction"
    hint = "only members of the transactor's own group answer its checks"
