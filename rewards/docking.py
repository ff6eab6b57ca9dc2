"""How well a molecule fits a receptor: minus the energy of its best pose, by AutoDock Vina.

    r(x) = - min over poses E_Vina(pose), in kcal/mol

RDKit gives the molecule three dimensions (ETKDG, then MMFF), meeko prepares it, Vina searches the box. Everything
random has a seed, so that a molecule has one score. Protonation and tautomer are taken as written; stereocentres that
are not specified are chosen by the seed.

    class_path: gendesign.rewards.Docking
    init_args: {receptor: protein.pdbqt, center: [12.0, 4.5, -3.1], size: [20, 20, 20]}

A receptor is prepared once, outside: meeko's `mk_prepare_receptor.py -i protein.pdb -o protein -p` writes the file.

Trott and Olson, "AutoDock Vina: improving the speed and accuracy of docking" (2010, doi 10.1002/jcc.21334); Eberhardt
et al., "AutoDock Vina 1.2.0" (2021, doi 10.1021/acs.jcim.1c00203).
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gendesign.building import finite, whole
from gendesign.errors import ConfigError, DesignError, MissingExtraError
from gendesign.molecules import chemistry
from gendesign.rewards.molecules import MoleculeReward
from gendesign.rewards.pooled import Pooled

if TYPE_CHECKING:
    from rdkit.Chem import Mol

RECEPTORS = Path(__file__).parent / "receptors"
NEEDED = ("vina", "meeko", "gemmi", "scipy")
"""Packages of the extra; meeko imports the last two without asking for them."""
LONGEST_SIDE = 60.0
"""Angstrom; grids of larger boxes fill gigabytes, and no search covers them."""
NOT_RIGID = ("ROOT", "BRANCH", "TORSDOF", "BEGIN_RES")


class VinaEnergy(MoleculeReward):
    """Minus the energy of the best pose; it may hang, and `Docking` is the one that cannot. Arguments as there."""

    unit = "kcal/mol, negated"
    source = "AutoDock Vina, doi 10.1021/acs.jcim.1c00203"

    def __init__(
        self,
        receptor: str | Path,
        center: Sequence[float],
        size: Sequence[float],
        *,
        exhaustiveness: int = 8,
        seed: int = 1,
    ) -> None:
        for package in NEEDED:
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, "docking")
        chemistry.version()  # RDKit is there
        self.receptor = find_receptor(receptor)
        self.center = _three("center", center)
        self.size = _three("size", size, above=0.0)
        if max(self.size) > LONGEST_SIDE:
            raise ConfigError(f"size must be at most {LONGEST_SIDE:g} Angstrom a side, got {list(self.size)}")
        self.exhaustiveness, self.seed = whole("exhaustiveness", exhaustiveness), whole("seed", seed)
        atoms = receptor_atoms(self.receptor)
        outside = (np.abs(atoms - self.center) > np.array(self.size) / 2).any(axis=1)
        if outside.all():
            middle = ", ".join(f"{x:.1f}" for x in atoms.mean(axis=0))
            raise ConfigError(
                f"the box of size {list(self.size)} around {list(self.center)} holds no atom of {self.receptor}, "
                f"whose middle is [{middle}]; move center or enlarge size"
            )
        self.name = f"docking to {self.receptor.stem}"
        self._digest = hashlib.sha256(self.receptor.read_bytes()).hexdigest()[:12]
        self._search: Any = None
        self._with_receptor()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_search": None}  # the grids are computed where they are used

    @property
    def version(self) -> str:
        packages = [f"{package} {version(package)}" for package in ("vina", "meeko")]
        return f"{chemistry.version()}; {'; '.join(packages)}; receptor {self._digest}"

    def value(self, mol: Mol) -> float:
        search, ligand = self._prepared(), self._ligand(mol)
        try:
            search.set_ligand_from_string(ligand)
        except TypeError as error:  # an element without AutoDock type, such as boron
            raise DesignError(f"Vina cannot read the molecule: {_said(error)}") from error
        search.dock(exhaustiveness=self.exhaustiveness, n_poses=1)
        return -float(search.energies(n_poses=1)[0][0])

    def _ligand(self, mol: Mol) -> str:
        """The molecule in three dimensions, as PDBQT."""
        from meeko import MoleculePreparation, PDBQTWriterLegacy

        with chemistry.rdkit() as chem:
            from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

            whole_mol = chem.AddHs(mol)
            how: Any = rdDistGeom.ETKDGv3()
            how.randomSeed = self.seed
            if rdDistGeom.EmbedMolecule(whole_mol, how) != 0:
                raise RuntimeError("RDKit found no three-dimensional structure of the molecule")
            if rdForceFieldHelpers.MMFFHasAllMoleculeParams(whole_mol):
                rdForceFieldHelpers.MMFFOptimizeMolecule(whole_mol)
            text, fine, why = PDBQTWriterLegacy.write_string(MoleculePreparation().prepare(whole_mol)[0])
        if not fine:
            raise DesignError(f"meeko cannot prepare the molecule: {' '.join(str(why).split())}")
        return str(text)

    def _prepared(self) -> Any:
        if self._search is None:
            self._search = self._with_receptor()
            self._search.compute_vina_maps(center=list(self.center), box_size=list(self.size))
        return self._search

    def _with_receptor(self) -> Any:
        from vina import Vina

        search = Vina(sf_name="vina", cpu=1, seed=self.seed, verbosity=0)
        try:
            search.set_receptor(str(self.receptor))
        except TypeError as error:  # what Vina's own reader says
            raise ConfigError(f"receptor {self.receptor}: {_said(error)}") from error
        return search


class Docking(Pooled):
    """Minus the energy of a molecule's best pose in a receptor, by AutoDock Vina: each with a limit on its time.

    Args:
        receptor: PDBQT file of the rigid receptor, or the name of a shipped one (`ubiquitin-patch`, an example).
        center: x, y and z of the middle of the box in which poses are sought, Angstrom.
        size: its three sides, Angstrom, at most 60 each.
        exhaustiveness: effort of the search; time grows in proportion.
        seed: of the three-dimensional structure and of the search, at least 1.
        timeout_s: seconds that one molecule may take.
        processes: molecules that are docked at a time, on one core each.
        cache: folder in which scores are kept; None = they are not.

    Raises:
        ConfigError: no such receptor, a file that is none, a box that misses it, or a number out of range.
        MissingExtraError: vina, meeko or RDKit is not installed.
    """

    def __init__(
        self,
        receptor: str | Path,
        center: Sequence[float],
        size: Sequence[float],
        *,
        exhaustiveness: int = 8,
        seed: int = 1,
        timeout_s: float = 300.0,
        processes: int = 2,
        cache: str | Path | None = None,
    ) -> None:
        energy = VinaEnergy(receptor, center, size, exhaustiveness=exhaustiveness, seed=seed)
        super().__init__(energy, processes=processes, cache=cache, timeout_s=timeout_s)


def find_receptor(receptor: str | Path) -> Path:
    """The file of a receptor.

    Raises:
        ConfigError: there is none of that path or name.
    """
    path, shipped = Path(receptor).expanduser(), RECEPTORS / f"{receptor}.pdbqt"
    if not path.is_file() and shipped.is_file():
        return shipped
    if not path.is_file():
        raise ConfigError(f"receptor {receptor}: no such file; expected a PDBQT file")
    if path.suffix != ".pdbqt":
        raise ConfigError(
            f"receptor {receptor}: expected a PDBQT file; meeko's mk_prepare_receptor.py makes one of a PDB file"
        )
    return path.resolve()


def receptor_atoms(path: Path) -> NDArray[np.float64]:
    """Coordinates [n, 3] of a rigid receptor's atoms, Angstrom.

    Raises:
        ConfigError: the file holds none, one that cannot be read, or the records of a ligand.
    """
    atoms = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        record = line.split(maxsplit=1)[0] if line.strip() else ""
        if record in NOT_RIGID:
            raise ConfigError(
                f"receptor {path}, line {number}: {record} belongs to a ligand or a flexible part"
            )
        if record in ("ATOM", "HETATM") or line.startswith("HETATM"):
            try:
                atoms.append([float(line[place : place + 8]) for place in (30, 38, 46)])
                float(line[70:76])
            except ValueError as error:
                raise ConfigError(
                    f"receptor {path}, line {number}: no atom of a PDBQT file ({error})"
                ) from error
            if not line[77:79].strip():
                raise ConfigError(f"receptor {path}, line {number}: an atom without its AutoDock type")
    if not atoms:
        raise ConfigError(f"receptor {path}: holds no atom; expected a PDBQT file")
    return np.array(atoms)


def _three(name: str, given: Sequence[float], *, above: float = -np.inf) -> tuple[float, float, float]:
    if isinstance(given, str) or len(given) != 3:
        raise ConfigError(f"{name} must be three numbers [x, y, z], got {given!r}")
    x, y, z = (finite(name, number, above=above) for number in given)
    return x, y, z


def _said(error: Exception) -> str:
    """What Vina says of a file, without the advice of its Python bindings."""
    return " ".join(str(error).partition("Additional information")[0].split()) or type(error).__name__
