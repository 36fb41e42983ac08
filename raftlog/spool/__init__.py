"""A spool of records on the client's own disk, for when the cluster is away."""

from raftlog.spool.blocking import BlockingSpool
from raftlog.spool.spool import Spool, SpooledRecord, SpoolStatus, TakenRecord

__all__ = ["BlockingSpool", "Spool", "SpoolStatus", "SpooledRecord", "TakenRecord"]
