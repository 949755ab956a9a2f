"""Sweeps in processes that can be killed. The model is loaded once, in the process that they are forked from."""

import multiprocessing
import os
import resource
import signal
import sys
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
from sweep_subjects import attributor

import dla

HEADS = attributor()


class SweepProcess:
    """A sweep in a process of its own.

    Attributes:
        pid: The number of the process.
    """

    def __init__(self, **settings: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        with pytest.MonkeyPatch.context() as patch:  # the server of Python 3.11 looks for modules nowhere else
            patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
            forkserver.ensure_running()
        self._sent, out = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(out, settings), daemon=True)
        self._process.start()
        self.pid = self._process.pid or 0
        out.close()

    def end(self, by: int = 0) -> tuple[int | None, Any]:
        """Sends it a signal, if one is given, and waits for its end: its exit code, and what it sent, if it did."""
        if by:
            os.kill(self.pid, by)
        try:
            sent = self._sent.recv()
        except EOFError:
            sent = None
        self._process.join()
        return self._process.exitcode, sent


def _run(out: Connection, settings: dict[str, Any]) -> None:
    """Sends the notes of Ctrl-C, or the most memory that the process had, in KiB."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        dla.sweep(attributor=HEADS, **settings)
    except KeyboardInterrupt as stop:
        out.send(stop.__notes__)
        os._exit(130)
    out.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
