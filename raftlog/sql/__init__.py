"""Messages and business rows that belong together, in the application's own SQL database.

- ``Outbox`` and ``Relay`` (for threads ``BlockingRelay``): what is written with the business rows
  is sent, once, when they are committed;
- ``Processed``: what was received is processed once, however often it is delivered;
- ``Sqlite``: the database, by the standard library; ``raftlog.sql.alchemy.Alchemy``: any that
  SQLAlchemy knows (``pip install 'raftlog[sqlalchemy]'``).

No broker is asked by what runs inside the application's transaction.
"""

from raftlog.sql.blocking import BlockingRelay as BlockingRelay
from raftlog.sql.database import Sqlite as Sqlite
from raftlog.sql.outbox import Outbox as Outbox
from raftlog.sql.processed import Processed as Processed
from raftlog.sql.relay import Relay as Relay
from raftlog.sql.relay import RelayStatus as RelayStatus

__all__ = ["BlockingRelay", "Outbox", "Processed", "Relay", "RelayStatus", "Sqlite"]
