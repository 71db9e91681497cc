"""Two processes of one command, as a launcher starts them, and a port to meet at."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

__all__ = ["reserved_port", "start_two"]

ROOT = Path(__file__).resolve().parents[2]


def reserved_port() -> socket.socket:
    """Its port is given to nobody who asks for any, as a free one would be; a server that names it can listen there.

    As long as it is open, in a child that inherits it, too.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def start_two(*arguments: str) -> list[subprocess.Popen[str]]:
    """`python -m` with these arguments, twice; they meet on this machine, with one thread each."""
    with reserved_port() as reserved:
        port = str(reserved.getsockname()[1])
        common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        common |= {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        return [
            subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env={**common, "RANK": rank, "LOCAL_RANK": rank},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=(reserved.fileno(),),
            )
            for rank in ("0", "1")
        ]
