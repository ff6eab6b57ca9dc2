"""What a public table is: files of a repository at a commit, and how ours is rebuilt from them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Source:
    """One file of a public repository at a commit.

    Args:
        repo: `owner/name` on GitHub.
        commit: its hash.
        path: the file's path in the repository.
        sha256: digest of the file, where it is known in advance.
    """

    repo: str
    commit: str
    path: str
    sha256: str | None = None

    def url(self, mirror: str | None = None) -> str:
        """Address of the file on GitHub, or under a mirror that is laid out alike."""
        return f"{(mirror or GITHUB).rstrip('/')}/{self.repo}/{self.commit}/{self.path}"


@dataclass(frozen=True)
class Table:
    """A public table that gendesign can rebuild.

    Args:
        name: what the user calls it.
        file: its path under the data folder; of a table of several files, their folder.
        about: one line.
        licence: licence stated by the source repository.
        sources: the files it is made of.
        rebuild: text of the table from the local copies of the sources, in their order; one text a member.
        trained_on: SHA-256 of the file that the shipped weights were trained on, if they were. That file lacks
            a random tenth of the rows, held back for evaluation: a rebuilt table has more rows, another digest.
        members: names of the files of a table of several.
    """

    name: str
    file: str
    about: str
    licence: str
    sources: tuple[Source, ...]
    rebuild: Callable[[Sequence[Path]], str | Sequence[str]]
    trained_on: str | None = None
    members: tuple[str, ...] = ()

    def files(self, folder: Path) -> list[Path]:
        """Its files, where the data folder is this one."""
        return [folder / self.file / name for name in self.members] or [folder / self.file]


def csv_text(frame: pd.DataFrame) -> str:
    """The text of a table: one header line, no index, Unix line ends."""
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False, lineterminator="\n")
    return buffer.getvalue()
