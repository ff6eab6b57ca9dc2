"""The verb `data`: list, fetch and find public tables. It needs no torch, so it answers at once."""

import argparse
import sys
from collections.abc import Callable

from gendesign.data import tables
from gendesign.errors import ConfigError


def data_verb(arguments: argparse.Namespace) -> None:
    """List, fetch or find a public table."""
    if arguments.action == "list":
        for name, about in tables.list_tables().items():
            print(f"{name}\n  {about}\n  {tables.state(name)}")
        return
    if not arguments.name:
        raise ConfigError(
            f"gendesign data {arguments.action} needs the name of a table: {', '.join(tables.list_tables())}"
        )
    if arguments.action == "path":
        print(tables.locate(arguments.name))
        return
    shown = _download_progress()
    path = tables.get(arguments.name, mirror=arguments.mirror, folder=arguments.folder, progress=shown)
    print(path)


def _download_progress() -> Callable[[str, int, int | None], None]:
    last = {"file": ""}

    def show(file: str, done: int, total: int | None) -> None:
        terminal = sys.stderr.isatty()
        of = f" of {total / 1e6:.1f}" if total else ""
        if terminal:
            print(f"\r{file}: {done / 1e6:.1f}{of} MB", end="\n" if done == total else "", file=sys.stderr)
        elif file != last["file"]:
            print(f"fetching {file}", file=sys.stderr)
        last["file"] = file

    return show
