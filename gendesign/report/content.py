"""What the form of the designs decides on the page: its words, how a design is shown, and sections of its own.

Everything else on the page is the same for sequences, vectors and images. `content_of` in `facts` chooses.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gendesign.designs import Design
from gendesign.report.shown import Shown
from gendesign.report.text import number

if TYPE_CHECKING:
    from gendesign.design_set import DesignSet

Floats = NDArray[np.float64]

Row = tuple[str, str, Callable[[Shown], str]]
"""A row of the table of variety: label, explanation, and the cell of a set."""


@dataclass(frozen=True)
class Words:
    """What the page calls things.

    Args:
        part: what a design consists of many of, such as a base.
        unit: what likelihoods are given for one of, such as a letter.
        size: how many of these a design has.
        many: several designs.
        natural: several designs of nature, or of the training data.
        likelihood: how log p was found.
    """

    part: str
    unit: str
    size: str
    many: str
    natural: str
    likelihood: str


class Content(ABC):
    """A form's part of the page.

    Args:
        run: the designs.
        sets: what is shown, the steered designs last.
    """

    first: ClassVar[str] = ""
    """Template of what stands before the scores."""
    later: ClassVar[str] = ""
    """Template of what stands after them."""

    def __init__(self, run: "DesignSet", sets: list[Shown]) -> None:
        self.run = run
        self.sets = sets

    @property
    @abstractmethod
    def words(self) -> Words:
        """The form's words."""

    @abstractmethod
    def variables(self) -> dict[str, Any]:
        """Variables of the form's templates."""

    @abstractmethod
    def show(self, design: Design) -> Markup:
        """A design of the list of designs."""

    def picture(self, design: Design, *, label: str) -> Markup | None:
        """A design as a picture, where it is one."""
        return None

    def facts(self, design: Design) -> Sequence[tuple[str, str]]:
        """What else the list of designs says of one: names and numbers."""
        return ()

    def cautions(self, design: Design) -> Sequence[str]:
        """What is strange about a design, in a few words each."""
        return ()

    def distance(self, value: float) -> str:
        """A distance between designs as text."""
        return number(value)

    def apart(self, value: float) -> str:
        """What a mean distance between two designs says, in a few words."""
        return f"any two are {number(value)} apart, mean"

    two: str = "Euclidean distance, mean"
    """What `distance` is between two designs."""
    from_training: str = "Euclidean distance to the nearest one, median"
    """What it is between a design and the training data."""

    nearest_said: str = "From nearest is the Euclidean distance to the nearest training design."
    """What the list of designs says of it."""

    def variety(self) -> Sequence[Row]:
        """Rows of the table of variety that only this form has."""
        return ()

    def natural_cells(self) -> dict[str, str]:
        """Cells of the table's column for natural designs by label; none where they were not measured."""
        return {}

    def missing(self) -> list[str]:
        """Sentences on what cannot be shown."""
        return []
