"""``python -m tests.live.teller DIRECTORY PLAN``: a client's process that does nothing but tell.

The plan says what: "count" numbers, one after the other, each of which is in DIRECTORY/told as
soon as it was told; "ask" about a message and never answer; "crash"; "once" one number.
"""

import os
import sys
import time
from itertools import count
from pathlib import Path


def tell(line: bytes) -> None:
    os.write(sys.stdout.fileno(), line + b"\n")


def main(directory: Path, plan: str) -> None:
    if plan == "count":
        told = os.open(directory / "told", os.O_CREAT | os.O_WRONLY)
        for number in count():
            tell(b"%d" % number)
            os.pwrite(told, b"%09d" % number, 0)
            time.sleep(0.0005)
    if plan == "crash":
        raise ValueError("no such plan")
    if plan == "once":
        tell(b"1")
    else:
        tell(b'{"type":"Asked","value":"Pw=="}')
    sys.stdin.read()


main(Path(sys.argv[1]), sys.argv[2])
