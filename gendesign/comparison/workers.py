"""Cells spread over processes of this machine, or over a Ray cluster; what they give does not depend on either.

A worker that dies (out of memory, killed) fails the cell that it was at, and another takes its place.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from gendesign.comparison.cells import Cell
from gendesign.comparison.running import RECORD, perform
from gendesign.errors import MissingExtraError
from gendesign.forms import Files

Done = tuple[Cell, Files]


def in_this_process(cells: Sequence[Cell]) -> Iterator[Done]:
    """One cell after the other."""
    for cell in cells:
        yield cell, perform(cell.spec, cell.key)


def over_processes(cells: Sequence[Cell], jobs: int) -> Iterator[Done]:
    """Cells as they finish, `jobs` at a time."""
    left, running = list(reversed(cells)), dict[Connection, tuple[BaseProcess, Cell]]()
    idle: list[tuple[Connection, BaseProcess]] = []
    context = multiprocessing.get_context("spawn")
    try:
        while left or running:
            while left and len(running) < jobs:
                pipe, process = idle.pop() if idle else _start(context)
                cell = left.pop()
                with suppress(OSError):  # one that died while idle: its end of the pipe says so below
                    pipe.send((cell.spec, cell.key))
                running[pipe] = process, cell
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                pipe = ready
                process, cell = running.pop(pipe)
                try:
                    files = pipe.recv()
                except (EOFError, OSError):
                    process.join()
                    files = failed(cell, f"its process died (exit code {process.exitcode})")
                else:
                    idle.append((pipe, process))
                yield cell, files
    finally:
        for pipe, process in [*idle, *((pipe, process) for pipe, (process, _) in running.items())]:
            pipe.close()
            process.terminate()
            process.join()


def _start(context: multiprocessing.context.SpawnContext) -> tuple[Connection, BaseProcess]:
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return ours, process


def serve(pipe: Connection) -> None:
    """Run what comes through the pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's matter
    while True:
        try:
            pipe.send(perform(*pipe.recv()))
        except (EOFError, OSError):
            return  # the parent is gone


def failed(cell: Cell, reason: str) -> Files:
    """The files of a cell of which nothing came back."""
    said = {"status": "FAILED", "reason": reason, "figures": {}, "key": cell.key, "spec": cell.spec}
    return {RECORD: json.dumps(said, indent=2, default=str).encode()}


def over_ray(cells: Sequence[Cell], address: str) -> Iterator[Done]:
    """Cells as they finish on a Ray cluster, one core each.

    Args:
        cells: what to run. Nodes need gendesign, and backbones and rewards under the same names or paths.
        address: of the cluster ("auto", "ray://HOST:10001"), or "local" to start one here.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    ours = not ray.is_initialized()
    if ours:
        dashboard = False if address == "local" else None
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
    try:
        remote = ray.remote(num_cpus=1, max_retries=0)(perform)
        running = {remote.remote(cell.spec, cell.key): cell for cell in cells}
        while running:
            (done, *_), _ = ray.wait(list(running), num_returns=1)
            cell = running.pop(done)
            try:
                files = ray.get(done)
            except ray.exceptions.RayError as error:  # its node or its process died
                files = failed(cell, " ".join(str(error).split())[:500])
            yield cell, files
    finally:
        if ours:
            ray.shutdown()
