"""The public tables of molecules: their sources, and how ours are rebuilt from them.

Properties are computed anew by RDKit, so that they agree with the rewards of the same names; rows that RDKit cannot
read are left out.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from gendesign.data.sources import Source, Table, csv_text
from gendesign.errors import DesignError
from gendesign.molecules import chemistry, descriptors

_PROPERTIES = {
    "logP": (descriptors.logp, 4),
    "qed": (descriptors.qed, 4),
    "sas": (descriptors.synthetic_accessibility, 4),
    "mol_weight": (descriptors.molecular_weight, 3),
    "n_heavy_atoms": (descriptors.heavy_atoms, 0),
}
"""Columns of ZINC-250k beside the SMILES, with the decimals that are kept."""


def _rebuild_zinc(paths: Sequence[Path]) -> str:
    """One SMILES a line, to a table with properties; RDKit takes some minutes for all of them."""
    import pandas as pd

    rows = []
    for smiles in _lines(paths[0]):
        try:
            mol = chemistry.parse(smiles)
        except DesignError:
            continue
        numbers = {name: round(of(mol), decimals) for name, (of, decimals) in _PROPERTIES.items()}
        rows.append({"smiles": smiles} | numbers)
    if not rows:
        raise ValueError("no SMILES found")
    return csv_text(pd.DataFrame(rows).astype({"n_heavy_atoms": int}))


def _lines(path: Path) -> Iterator[str]:
    """The lines of a compressed text, which may lie in an archive within."""
    with gzip.open(path) as file:
        raw = file.read()
    if b"ustar" in raw[:512]:
        with tarfile.open(path, "r:gz") as archive:
            raw = b"".join(
                part.read()
                for member in archive.getmembers()
                if member.isfile() and not Path(member.name).name.startswith(".")
                for part in [archive.extractfile(member)]
                if part is not None
            )
    for line in raw.decode().splitlines():
        words = line.replace(",", " ").split()
        if words and words[0] != "smiles":
            yield words[0].strip('"')


def _rebuild_seh(paths: Sequence[Path]) -> str:
    """ChEMBL's export of activities: those of type IC50 with a pChEMBL value."""
    import pandas as pd

    frame = pd.read_csv(paths[0], sep=";")
    frame = frame[
        frame["Standard Type"].eq("IC50") & frame["pChEMBL Value"].notna() & frame["Smiles"].notna()
    ]
    columns = ["Molecule ChEMBL ID", "Smiles", "pChEMBL Value", "Target Organism"]
    return csv_text(
        frame[columns].set_axis(["chembl_id", "smiles", "pchembl_ic50", "target_organism"], axis=1)
    )


def _rebuild_solubility(paths: Sequence[Path]) -> str:
    import pandas as pd

    frame = pd.read_csv(paths[0], sep="\t")[["Drug_ID", "Drug", "Y"]]
    return csv_text(frame.set_axis(["name", "smiles", "log_s_mol_per_l"], axis=1))


_MOL_OPT = "wenhao-gao/mol_opt"

MOLECULES: tuple[Table, ...] = (
    Table(
        "zinc250k_properties",
        "molecules/zinc250k_properties.csv.gz",
        "250,000 drug-like molecules of ZINC with logP, QED, synthetic accessibility and size",
        "MIT",
        (Source(_MOL_OPT, "fd6893626427a5ee22cab86b9ba1f6d382c63253", "data/zinc.txt.gz"),),
        _rebuild_zinc,
        "3f1c9c8462947d39c0e347e36da50ebcbd2d4def11dadc38713bb6e59d21278c",
    ),
    Table(
        "seh_chembl_ic50",
        "molecules/seh_chembl_ic50.csv.gz",
        "measured inhibition (pIC50) of human soluble epoxide hydrolase by 1,700 molecules of ChEMBL",
        "MIT (ChEMBL itself: CC BY-SA 3.0)",
        (
            Source(
                _MOL_OPT,
                "a366cffa722bee777188ae186b5a4e1d79ed302e",
                "main/gflownet/data/seh/seh_chembl.csv",
            ),
        ),
        _rebuild_seh,
        "44d881c727b9f769f8d824c75193ccd0a1353ed4e6786177db626ccba412b833",
    ),
    Table(
        "aqsoldb_solubility",
        "molecules/aqsoldb_solubility.csv.gz",
        "measured solubility in water of 9,900 compounds, log10 mol/L (AqSolDB)",
        "MIT",
        (
            Source(
                _MOL_OPT,
                "f8530df6fdd3c69a28bc624420bd05fb2381b4a1",
                "main/reinvent_transformer/data/solubility_aqsoldb.tab",
            ),
        ),
        _rebuild_solubility,
        "cea84925551aca49fcf45c26ecfc6c222a00ae1d1017732b9ced2802615860ab",
    ),
)
