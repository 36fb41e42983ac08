"""A client as a process of its own, so that the run can kill it in the middle of anything.

::

    process  --- facts, a line each (its standard output) --->  run
             <-- an answer for each (its standard input) -----

Two pipes, not one socket: what a process has told before it was killed is read to its end, also
if an answer can't be written any more. A process ends with its standard input, and that ends with
the run, however it does.
"""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

END_S: Final = 5.0


class ClientProcess:
    """One life of a client: ``python -m MODULE DIRECTORY PLAN``. Leaving ``async with`` ends it.

    Args:
        module: What it runs.
        directory: The run's; what the process writes to its standard error is there.
        name: Of its log.
        plan: What it is to do.
    """

    def __init__(self, module: str, directory: Path, name: str, plan: bytes) -> None:
        self.log: Final = directory / f"{name}.log"
        self._command: Final = (sys.executable, "-m", module, str(directory), plan.decode())
        self._process: Process | None = None
        self.is_killed = False

    async def __aenter__(self) -> Self:
        """Start it."""
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=output,
                start_new_session=True,  # a Ctrl-C here must not race with our own stop
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let it end with its standard input; kill it if it does not, or if something is wrong."""
        if kind is not None:
            self.kill()
        self.end()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await self._started.wait()
        finally:
            self.kill()
            await self._started.wait()

    @property
    def ended_well(self) -> bool:
        """Whether it has ended as it was told to: it was killed, or its input had ended."""
        code = self._started.returncode
        return code == 0 or (self.is_killed and code == -signal.SIGKILL)

    async def lines(self) -> AsyncIterator[bytes]:
        """Return what it tells, line by line, to the end: also what it told before it was killed.

        The last one may be cut off, if it was killed while it wrote that: it is left out.
        """
        reader = self._started.stdout
        assert reader is not None
        async for line in reader:
            if line.endswith(b"\n"):
                yield line

    def say(self, line: bytes) -> None:
        """Send it a line, if it lives."""
        writer = self._started.stdin
        assert writer is not None
        if self._started.returncode is None and not self.is_killed and not writer.is_closing():
            writer.write(line)

    def end(self) -> None:
        """End its standard input: it ends by itself."""
        writer = self._started.stdin
        assert writer is not None
        writer.close()

    def kill(self) -> None:
        """Send it SIGKILL, if it lives. What it has told before is still there to be read."""
        if self._process is not None and self._process.returncode is None:
            self.is_killed = True
            self._process.kill()

    def ending(self) -> str:
        """Say in words how it has ended."""
        code = self._started.returncode
        if code is None:
            return "it runs"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def last_words(self) -> str:
        """Return the end of what it wrote to its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])

    @property
    def _started(self) -> Process:
        assert self._process is not None, "it was never started"
        return self._process
