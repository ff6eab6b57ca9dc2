"""The public tables: their sources at a commit, and how ours are rebuilt from them.

Sequences that share a 20-mer are near-copies (alleles, mutants, overlapping windows): column `group` numbers
the connected components of that relation, and splits go by it, or they leak.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gendesign.data.molecule_sources import MOLECULES
from gendesign.data.protein_sources import PROTEINS
from gendesign.data.sources import Source, Table, csv_text

KMER = 20
MEME_HEADER = """MEME version 4

ALPHABET= ACGT

strands: + -

Background letter frequencies
A 0.25 C 0.25 G 0.25 T 0.25

"""


def components(sequences: Sequence[str], *, k: int = KMER) -> npt.NDArray[np.int64]:
    """Number the connected components of sequences that share a k-mer, by union-find.

    Args:
        sequences: any strings; one shorter than k is alone unless it occurs again.
        k: length of the shared word.

    Returns:
        One number per sequence, counted from 0 in the order of the components' roots. The rule of union below
        decides which row is a root, and so keeps the numbers that training configurations name.
    """
    parent = list(range(len(sequences)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[str, int] = {}
    for row, sequence in enumerate(sequences):
        words = [sequence[i : i + k] for i in range(len(sequence) - k + 1)] or [sequence]
        for word in words:
            parent[root(row)] = root(first.setdefault(word, row))
    roots = np.array([root(row) for row in range(len(sequences))], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1]


def _rebuild_native(paths: Sequence[Path]) -> str:
    """Alleles of natural promoters; columns are recognised by what they hold, as the source has no header."""
    import pandas as pd

    frame = pd.read_csv(paths[0], sep=r"\s+", header=None, dtype=str, compression="gzip")
    gene = sequence = count = None
    for column in frame.columns:
        values = frame[column].iloc[1:1001]
        if values.str.fullmatch(r"[ACGTNRYKMSWBDHVacgt-]{80}").mean() > 0.9:
            sequence = column
        elif values.str.fullmatch(r"(Y[A-P][LR]\d{3}[WC]|Q\d{4}).*").mean() > 0.9:
            gene = column
        elif values.str.fullmatch(r"\d+").all():
            count = column if count is None else count
    if gene is None or sequence is None or count is None:
        raise ValueError(
            f"expected columns of gene, 80 bases and number of isolates, got {frame.iloc[0].tolist()}"
        )
    frame = frame[[gene, sequence, count]].set_axis(["gene_promoter", "sequence", "num_isolates"], axis=1)
    frame = frame[frame["sequence"].str.fullmatch("[ACGT]{80}") & frame["num_isolates"].str.fullmatch(r"\d+")]
    frame = frame.sort_values(["gene_promoter", "sequence"], kind="stable")
    return csv_text(frame.assign(group=components(frame["sequence"].tolist())))


FLANKS = ("TGCATTTTTTTCACATC", "GGTTACGGCTGTT")
"""Constant ends of the yeast promoter assays; the designed 80 bases lie between them."""


def _rebuild_vaishnav(paths: Sequence[Path]) -> str:
    """Promoter assays: repeated measurements of a sequence in one library and medium are averaged."""
    import pandas as pd

    parts = []
    for path in paths:
        library, medium = re.sub(r"^\d+-|\.csv$", "", path.name).lower().split("_")
        frame = pd.read_csv(path)[["sequence", "Measured Expression"]].set_axis(
            ["sequence", "expression"], axis=1
        )
        parts.append(frame.assign(sequence=frame["sequence"].str.lstrip("N"), library=library, medium=medium))
    frame = pd.concat(parts)
    frame = frame[frame["sequence"].str.fullmatch("[ACGT]+") & frame["expression"].notna()]
    keys = ["sequence", "library", "medium"]
    frame = (
        frame.groupby(keys, sort=True)["expression"]
        .agg(expression="mean", n_measurements="size")
        .reset_index()
    )
    inserts = [s[len(FLANKS[0]) : -len(FLANKS[1])] for s in frame["sequence"]]
    return csv_text(frame.assign(group=components(inserts)))


def _rebuild_dream_demo(paths: Sequence[Path]) -> str:
    import pandas as pd

    frame = pd.read_csv(paths[0], sep="\t", header=None, names=["sequence", "expression"])
    frame["sequence"] = frame["sequence"].str.strip("N")
    return csv_text(frame[frame["sequence"].str.fullmatch("[ACGT]+")].astype({"expression": float}))


def _rebuild_deepstarr(paths: Sequence[Path]) -> str:
    import pandas as pd

    parts = []
    for path in paths:
        frame = pd.read_csv(path, sep="\t", header=None, dtype=str)
        frame = frame[
            frame[1].str.fullmatch(r"\d+", na=False)
        ]  # a header line, if there is one, has no coordinate
        frame = frame[[3, 5, 6, 7, 4]]
        frame = frame.set_axis(["id", "sequence", "dev_log2_enrichment", "hk_log2_enrichment", "set"], axis=1)
        parts.append(frame.assign(sample_file=re.sub(r"^\d+-sample_|\.txt$", "", path.name)))
    frame = pd.concat(parts)
    return csv_text(frame.assign(group=components(frame["sequence"].tolist())))


def _rebuild_meme(paths: Sequence[Path]) -> str:
    """TRANSFAC counts to MEME's minimal format: rows normalised, no pseudocount, nsites = largest row sum."""
    out = [MEME_HEADER]
    for record in paths[0].read_text().split("//\n")[:-1]:
        lines = record.splitlines()
        accession = next(line.split()[1] for line in lines if line.startswith("AC "))
        name = next(line.split(None, 1)[1] for line in lines if line.startswith("ID "))
        counts = np.array([line.split()[1:5] for line in lines if re.match(r"\d+\s", line)], dtype=float)
        sums = counts.sum(1, keepdims=True)
        out.append(f"MOTIF {accession} {name}\nletter-probability matrix: alength= 4 w= {len(counts)} ")
        out.append(f"nsites= {round(float(sums.max()))} E= 0\n")
        out += [" ".join(f"{value:.6f}" for value in row) + "\n" for row in counts / sums] + ["\n"]
    return "".join(out)


def _rebuild_gb1(paths: Sequence[Path]) -> str:
    """Four letters a variant (sites 39, 40, 41, 54), counts before and after selection, enrichment over wild type."""
    import pandas as pd

    taken = {
        "Variants": "variant_39_40_41_54",
        "HD": "n_mutations",
        "Count input": "count_input",
        "Count selected": "count_selected",
        "Fitness": "fitness",
    }
    frame = pd.read_csv(paths[0], compression="zip")[list(taken)].rename(columns=taken)
    return csv_text(frame[frame["variant_39_40_41_54"].str.fullmatch("[ACDEFGHIKLMNPQRSTVWY]{4}", na=False)])


def _copy(paths: Sequence[Path]) -> str:
    return paths[0].read_text()


_EVOLUTION = "1edv/evolution"
_MODEL = "manuscript_code/model"
_RANDOM_COMPLEX = "ffb88ae918e5214d1191d6780cc7deadb83840cb"
_OTHERS = "163c3a2eb03617a02c8bf60fdb1c2fa90b9a1ed6"
_NATIVE = "ffb88ae918e5214d1191d6780cc7deadb83840cb"
_DREAM = "de-Boer-Lab/random-promoter-dream-challenge-2022"
_JASPAR = Source(
    "rsa-tools/motif_databases",
    "3545ff131339f00a0ba1915963a5bb58d6de6219",
    "JASPAR/Jaspar_2024/JASPAR2024_CORE_vertebrates_non-redundant_pfms_transfac.txt",
    "0196cf785599aab1a64cc78dc0a087dfefae932bd3b75053caedfab1c52ddd4e",
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "yeast_native_promoters_1011",
            "dna/yeast_native_promoters_1011.csv.gz",
            "natural yeast promoters: 80 bases upstream of every gene, all alleles of 1,011 isolates",
            "MIT",
            (
                Source(
                    _EVOLUTION,
                    "e771e3442d24835e4dffc507428e646f174c37a4",
                    f"{_MODEL}/benchmarking_models/20190719_Native80.2_orthologous_promoters_unique.txt.gz",
                ),
            ),
            _rebuild_native,
            "79bd6dc002abf622bcec1eef34127366dcec39851735fe5ed4ec5d2bc6f4f5cd",
        ),
        Table(
            "yeast_promoters_vaishnav2022",
            "dna/yeast_promoters_vaishnav2022.csv.gz",
            "measured expression of 80-base yeast promoters (random, native, evolved) in two media",
            "MIT",
            tuple(
                Source(_EVOLUTION, commit, f"{_MODEL}/reproduce_test_data_performance/{file}.csv")
                for file, commit in (
                    ("Random_complex", _RANDOM_COMPLEX),
                    ("Random_defined", _OTHERS),
                    ("Native_complex", _NATIVE),
                    ("Native_defined", _NATIVE),
                    ("SSWM_complex", _OTHERS),
                    ("SSWM_defined", _OTHERS),
                )
            ),
            _rebuild_vaishnav,
            "8ca3a75abc4186a6718ff95acbb544df774f60e78fab490a8dcdcbfd57b937a2",
        ),
        Table(
            "yeast_random_promoters_dream2022_demo",
            "dna/yeast_random_promoters_dream2022_demo.csv.gz",
            "measured expression of 6,370 random 80-base yeast promoters (DREAM 2022, demo subset)",
            "MIT",
            (Source(_DREAM, "abce63b4cc761d28b38f12312acf2b377cf562b8", "dream/data/demo_train.txt"),),
            _rebuild_dream_demo,
        ),
        Table(
            "drosophila_deepstarr_sample",
            "dna/drosophila_deepstarr_sample.csv.gz",
            "enhancer activity of 3,000 Drosophila sequences of 249 bases with two core promoters",
            "MIT",
            tuple(
                Source(
                    _DREAM,
                    "42cf16ce07370957c6e2db3d6f496139ad4d57d6",
                    f"benchmarks/drosophila/data/sample_{part}.txt",
                )
                for part in ("train", "val", "test")
            ),
            _rebuild_deepstarr,
        ),
        Table(
            "jaspar2024_core_vertebrates",
            "motifs/jaspar2024_core_vertebrates.meme.gz",
            "879 transcription factor motifs of vertebrates (JASPAR 2024 CORE) in MEME format",
            "CC BY 4.0",
            (_JASPAR,),
            _rebuild_meme,
        ),
        Table(
            "jaspar2024_core_vertebrates_transfac",
            "motifs/jaspar2024_core_vertebrates.transfac.gz",
            "the same motifs as counts, in TRANSFAC format",
            "CC BY 4.0",
            (_JASPAR,),
            _copy,
        ),
        Table(
            "gb1_wu2016_four_site",
            "protein/gb1_wu2016_four_site.csv.gz",
            "measured binding of 149,361 variants of four sites of protein GB1 (Wu et al. 2016)",
            "AFL-3.0; the measurements CC BY 4.0",
            (
                Source(
                    "J-SNACKKB/FLIP",
                    "b55dd8cff1cde1c65d2b17f389c3ddab93bdc78b",
                    "splits/gb1/four_mutations_full_data.csv.zip",
                ),
            ),
            _rebuild_gb1,
            "e07dd1774778943fc2fbd09e475cf425211f22b1908431e4c9495b5406cfb724",
        ),
        *PROTEINS,
        *MOLECULES,
    )
}
