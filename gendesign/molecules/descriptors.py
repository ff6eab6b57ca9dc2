"""Numbers that RDKit reads off a molecule: drug-likeness, synthetic accessibility, logP, size, polarity, rings.

    penalised logP  =  z(logP) - z(SA) - z(excess),     excess = max(0, atoms of the largest ring - 6)

where z(q) = (q - mean) / sd over ZINC-250k with the constants of the published code (`ZINC_MOMENTS`), so that
values can be set beside those of papers: the best molecules of ZINC-250k score 4.52, 4.30 and 4.23 there and here. The
largest ring is sought among the smallest rings (SSSR), which does not depend on the order of atoms; the published code
took any basis of cycles, which can see a larger ring where rings are fused.

References: QED: Bickerton et al., "Quantifying the chemical beauty of drugs" (2012, doi 10.1038/nchem.1243). SA: Ertl
and Schuffenhauer, "Estimation of synthetic accessibility score of drug-like molecules" (2009, doi
10.1186/1758-2946-1-8), by RDKit's own `sascorer`. logP: Wildman and Crippen, "Prediction of physicochemical parameters
by atomic contributions" (1999, doi 10.1021/ci990307l). TPSA: Ertl et al. (2000, doi 10.1021/jm000942e). Complexity:
Bertz (1981, doi 10.1021/ja00402a071). Penalised logP: Gomez-Bombarelli et al. (2016, arXiv 1610.02415), in the form of
Kusner et al. (2017, arXiv 1703.01925) and Jin et al. (2018, arXiv 1802.04364).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendesign.errors import RewardError
from gendesign.molecules.chemistry import rdkit

if TYPE_CHECKING:
    from rdkit.Chem import Mol

ZINC_MOMENTS = {
    "logP": (2.4570953396190123, 1.434324401111988),
    "SA": (3.0525811293166134, 0.8335207024513095),
    "excess": (0.0485696876403053, 0.2860212110245455),
}
"""Mean and standard deviation over ZINC-250k of the terms of penalised logP, as published.

Over nine tenths of the molecules, at random: logP 2.457 and 1.435, SA 3.053 and 0.835, excess 0.038 and 0.224.
"""


def qed(mol: Mol) -> float:
    """Quantitative estimate of drug-likeness, 0 to 1, with the mean weights of its paper."""
    with rdkit():
        from rdkit.Chem import QED

        return float(QED.qed(mol))


def synthetic_accessibility(mol: Mol) -> float:
    """SA score: 1 (easy to make) to 10 (hard).

    Raises:
        RewardError: this RDKit came without its Contrib folder.
    """
    return float(_sa_scorer()(mol))


def logp(mol: Mol) -> float:
    """Crippen's estimate of the octanol-water partition coefficient, log10."""
    with rdkit():
        from rdkit.Chem import Crippen

        return float(Crippen.MolLogP(mol))  # type: ignore[attr-defined]


def penalised_logp(mol: Mol) -> float:
    """The logP less synthetic accessibility less excess ring size, each in standard deviations of ZINC-250k."""
    quantities = {
        "logP": logp(mol),
        "SA": synthetic_accessibility(mol),
        "excess": max(0.0, largest_ring(mol) - 6.0),
    }
    z = {name: (quantities[name] - mean) / std for name, (mean, std) in ZINC_MOMENTS.items()}
    return z["logP"] - z["SA"] - z["excess"]


def molecular_weight(mol: Mol) -> float:
    """Molecular weight in g/mol, hydrogens included, of the natural mixture of isotopes."""
    with rdkit():
        from rdkit.Chem import Descriptors

        return float(Descriptors.MolWt(mol))  # type: ignore[attr-defined]


def bertz(mol: Mol) -> float:
    """Bertz's index of complexity."""
    with rdkit():
        from rdkit.Chem import GraphDescriptors

        return float(GraphDescriptors.BertzCT(mol))


def tpsa(mol: Mol) -> float:
    """Topological polar surface area of N and O, in square Angstrom."""
    return float(_calculators().CalcTPSA(mol))


def rotatable_bonds(mol: Mol) -> int:
    """Rotatable bonds in RDKit's strict sense: bonds in rings and amides do not count."""
    return int(_calculators().CalcNumRotatableBonds(mol))


def hydrogen_donors(mol: Mol) -> int:
    """Hydrogens on N and O, as Lipinski counts donors."""
    return int(_calculators().CalcNumLipinskiHBD(mol))


def hydrogen_acceptors(mol: Mol) -> int:
    """N and O atoms, as Lipinski counts acceptors."""
    return int(_calculators().CalcNumLipinskiHBA(mol))


def rings(mol: Mol) -> int:
    """Rings of the smallest set of smallest rings."""
    return int(_calculators().CalcNumRings(mol))


def aromatic_rings(mol: Mol) -> int:
    """Those of `rings` that are aromatic."""
    return int(_calculators().CalcNumAromaticRings(mol))


def largest_ring(mol: Mol) -> int:
    """Atoms of the largest of `rings`; 0 without any."""
    return max((len(ring) for ring in mol.GetRingInfo().AtomRings()), default=0)


def heavy_atoms(mol: Mol) -> int:
    """Atoms other than hydrogen."""
    return int(mol.GetNumHeavyAtoms())


def element_counts(mol: Mol) -> dict[str, int]:
    """How many atoms of each element a molecule has, hydrogens included."""
    counts: dict[str, int] = {}
    for atom in mol.GetAtoms():
        counts[atom.GetSymbol()] = counts.get(atom.GetSymbol(), 0) + 1
        counts["H"] = counts.get("H", 0) + atom.GetTotalNumHs()
    return counts


def _calculators() -> Any:
    with rdkit():
        from rdkit.Chem import rdMolDescriptors

        return rdMolDescriptors


@lru_cache(maxsize=1)
def _sa_scorer() -> Callable[[Mol], float]:
    """RDKit's own implementation, which lies in its Contrib folder and is no part of its package."""
    with rdkit():
        from rdkit.Chem import RDConfig

        path = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
        spec = importlib.util.spec_from_file_location("gendesign_sascorer", path) if path.is_file() else None
        if spec is None or spec.loader is None:
            raise RewardError(
                f"this RDKit has no SA score ({path} is missing); install it with: pip install rdkit"
            )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        score: Callable[[Mol], float] = module.calculateScore
        return score
