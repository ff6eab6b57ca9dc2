"""What a molecule must or must not be: minus the number of reasons against it.

    Lipinski      0 - violations of the rule of five: MW <= 500, logP <= 5, donors <= 5, acceptors <= 10
    PAINS         0 - patterns of assay interference that the molecule matches
    Substructure  0 - required patterns that are missing - forbidden patterns that are there

0 means that nothing speaks against the molecule; the message of a score names what does. Used alone each is a reward;
inside a `Threshold` with `at_least: 0` it is a filter, inside a `WeightedSum` a penalty.

References: Lipinski et al., "Experimental and computational approaches to estimate solubility and permeability" (1997,
doi 10.1016/S0169-409X(96)00423-1); Baell and Holloway, "New substructure filters for removal of pan assay interference
compounds" (2010, doi 10.1021/jm901137j), as in RDKit's FilterCatalog; SMARTS: Daylight.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from gendesign.errors import ConfigError
from gendesign.molecules import chemistry, descriptors
from gendesign.rewards.base import Scores
from gendesign.rewards.molecules import MoleculeReward

if TYPE_CHECKING:
    from rdkit.Chem import Mol


class MoleculeFilter(MoleculeReward):
    """Base of filters: minus the number of reasons against a molecule."""

    unit = "objections"

    @abstractmethod
    def objections(self, mol: Mol) -> list[str]:
        """Each reason against a molecule, in words."""

    def value(self, mol: Mol) -> float:
        return 0.0 - len(self.objections(mol))

    def score(self, designs: Sequence[str]) -> Scores:
        found = [self.objections(chemistry.molecule(design)) for design in designs]
        values = np.array([-float(len(reasons)) for reasons in found])
        return Scores(values, message=tuple("; ".join(reasons) for reasons in found))


class Lipinski(MoleculeFilter):
    """Minus the number of violations of Lipinski's rule of five (the rule itself allows one)."""

    name, source = "lipinski", "Lipinski et al. 1997, doi 10.1016/S0169-409X(96)00423-1, by RDKit"

    def objections(self, mol: Mol) -> list[str]:
        found = (
            ("molecular weight", descriptors.molecular_weight(mol), 500),
            ("logP", descriptors.logp(mol), 5),
            ("hydrogen donors", descriptors.hydrogen_donors(mol), 5),
            ("hydrogen acceptors", descriptors.hydrogen_acceptors(mol), 10),
        )
        return [f"{what} {number:.4g} above {most}" for what, number, most in found if number > most]


class PAINS(MoleculeFilter):
    """Minus the number of PAINS patterns (sets A, B and C) in a molecule."""

    name, source = "pains", "Baell and Holloway 2010, doi 10.1021/jm901137j, by RDKit's FilterCatalog"

    def objections(self, mol: Mol) -> list[str]:
        return [str(match.GetDescription()) for match in _pains().GetMatches(mol)]


class Substructure(MoleculeFilter):
    """Minus the number of required patterns that are missing and of forbidden ones that are there.

    Stereochemistry counts where a pattern states it.

    Args:
        required: SMARTS that a design must match; several are separated by blanks.
        forbidden: SMARTS that it must not match, likewise.

    Raises:
        ConfigError: nothing is asked for, or something is no SMARTS.
    """

    source = "SMARTS, matched by RDKit"

    def __init__(self, required: str = "", *, forbidden: str = "") -> None:
        self.required, self.forbidden = _patterns("required", required), _patterns("forbidden", forbidden)
        if not self.required and not self.forbidden:
            raise ConfigError(
                "Substructure has nothing to look for; give required=SMARTS or forbidden=SMARTS"
            )
        self.name = "substructure"

    def objections(self, mol: Mol) -> list[str]:
        missing = [f"lacks {text}" for text, want in self.required.items() if not _matches(mol, want)]
        return missing + [f"has {text}" for text, bad in self.forbidden.items() if _matches(mol, bad)]


def _matches(mol: Mol, pattern: Any) -> bool:
    return bool(mol.HasSubstructMatch(pattern, useChirality=True))


def _patterns(what: str, given: str) -> dict[str, Any]:
    patterns: dict[str, Any] = {}
    if not isinstance(given, str):
        raise ConfigError(f"{what} must be SMARTS separated by blanks, got {given!r}")
    with chemistry.rdkit() as chem:
        for text in given.split():
            patterns[text] = chem.MolFromSmarts(text) if text.isascii() else None  # RDKit drops the rest
            if patterns[text] is None or patterns[text].GetNumAtoms() == 0:
                raise ConfigError(f"{what} must be SMARTS such as c1ccncc1 or [CX3](=O)[OX2H1], got {text!r}")
    return patterns


@lru_cache(maxsize=1)
def _pains() -> Any:
    with chemistry.rdkit():
        from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

        return FilterCatalog(FilterCatalogParams(FilterCatalogParams.FilterCatalogs.PAINS))
