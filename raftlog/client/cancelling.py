"""Whose cancellation it is: this task's own, or that of something that it has waited for.

Both are a ``CancelledError``. Somebody else's future or task that ends so says nothing about the
one who waits: it is a failure like any other, and who takes it for its own end stops silently.
"""

import asyncio


def is_cancelled() -> bool:
    """Whether somebody has asked the current task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
