"""Messages that are processed once, for those whose data lies in Redis.

``Processed`` is for ``redis.asyncio.Redis``, ``raftlog.redis.blocking.Processed`` for
``redis.Redis`` in threads. Both need the package ``redis``: ``pip install 'raftlog[redis]'``.
"""

from raftlog.redis.processed import Processed as Processed

__all__ = ["Processed"]
