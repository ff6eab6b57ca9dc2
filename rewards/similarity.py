"""How like a reference molecule a design is, by shared neighbourhoods of atoms.

    Tanimoto(a, b) = sum_k min(a_k, b_k) / sum_k max(a_k, b_k)

over the counts a_k, b_k of the features that a fingerprint finds in the two molecules, unfolded: 1 for equal
fingerprints, 0 for nothing shared.

    ECFP4, ECFP6    neighbourhoods of up to 2 or 3 bonds around each atom
    FCFP4, FCFP6    the same, where atoms of one pharmacophoric role are alike
    AP              pairs of atoms and the number of bonds between them, at most 10
    PHCO            pairs and triplets of pharmacophoric roles and the bonds between them; present or not

Rogers and Hahn, "Extended-Connectivity Fingerprints" (2010, doi 10.1021/ci100050t); Carhart et al., "Atom pairs as
molecular features in structure-activity studies" (1985, doi 10.1021/ci00046a002); Gobbi and Poppinger, "Genetic
optimization of combinatorial libraries" (1998, doi 10.1002/(SICI)1097-0290(199824)61:1<47::AID-BIT9>3.0.CO;2-Z).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from gendesign.errors import ConfigError, DesignError
from gendesign.files.designs import named_designs
from gendesign.molecules import chemistry
from gendesign.rewards.molecules import MoleculeReward

if TYPE_CHECKING:
    from rdkit.Chem import Mol

Fingerprint = Literal["ECFP4", "ECFP6", "FCFP4", "FCFP6", "AP", "PHCO"]
FINGERPRINTS = get_args(Fingerprint)


class Similarity(MoleculeReward):
    """Tanimoto similarity to a reference molecule, 0 to 1; of several, to the nearest.

    Args:
        reference: SMILES of the molecule that designs are to be like, or a file of several.
        fingerprint: ECFP4, ECFP6, FCFP4, FCFP6, AP or PHCO.
        counts: compare how often each feature occurs, as GuacaMol does; False = whether it occurs.

    Raises:
        ConfigError: a reference is no molecule, or there is no such fingerprint.
        DataError: the file cannot be read.
    """

    unit = "Tanimoto"
    source = "Rogers and Hahn 2010, doi 10.1021/ci100050t, by RDKit"

    def __init__(self, reference: str, *, fingerprint: Fingerprint = "ECFP4", counts: bool = True) -> None:
        if fingerprint not in FINGERPRINTS:
            raise ConfigError(f"fingerprint must be one of {', '.join(FINGERPRINTS)}, got {fingerprint!r}")
        if not isinstance(reference, str):
            raise ConfigError(f"reference must be a SMILES, or a file of several, got {reference!r}")
        try:
            self.references = tuple(
                dict.fromkeys(chemistry.canonical(one) for one in named_designs(reference))
            )
        except DesignError as error:
            raise ConfigError(f"reference: {error}") from error
        self.fingerprint, self.counts = fingerprint, counts
        self.name = f"{fingerprint} similarity"
        self._wanted = [self._features(chemistry.molecule(one)) for one in self.references]

    @property
    def version(self) -> str:
        """RDKit's, and of the molecules that a file of references holds."""
        digest = hashlib.sha256(" ".join(self.references).encode()).hexdigest()[:12]
        return f"{super().version}; references {digest}"

    def value(self, mol: Mol) -> float:
        with chemistry.rdkit():
            from rdkit.DataStructs import TanimotoSimilarity

            found = self._features(mol)
            return max(float(TanimotoSimilarity(found, wanted)) for wanted in self._wanted)

    def _features(self, mol: Mol) -> Any:
        if self.fingerprint == "PHCO":
            return _pharmacophores(mol)
        generator = _generator(self.fingerprint)
        return (generator.GetSparseCountFingerprint if self.counts else generator.GetSparseFingerprint)(mol)


@lru_cache(maxsize=8)
def _generator(fingerprint: str) -> Any:
    with chemistry.rdkit():
        from rdkit.Chem import rdFingerprintGenerator as generators

        if fingerprint == "AP":
            return generators.GetAtomPairGenerator(maxDistance=10)
        roles = generators.GetMorganFeatureAtomInvGen() if fingerprint.startswith("F") else None
        return generators.GetMorganGenerator(radius=int(fingerprint[-1]) // 2, atomInvariantsGenerator=roles)


def _pharmacophores(mol: Mol) -> Any:
    with chemistry.rdkit():
        from rdkit.Chem.Pharm2D import Generate, Gobbi_Pharm2D

        return Generate.Gen2DFingerprint(mol, Gobbi_Pharm2D.factory)
