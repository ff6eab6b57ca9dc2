"""Measure natural sequences, or molecules, once, for all reports to come."""

from collections.abc import Mapping, Sequence

import numpy as np

from gendesign.errors import DesignError
from gendesign.metrics.distances import gc_content, longest_run, mean_pairwise_distance
from gendesign.metrics.kmers import Floats, hash_kmers, kmer_spectrum, spectrum_correlation
from gendesign.metrics.molecule_reference import MoleculeReference, hash_molecules, properties, ring_sizes
from gendesign.metrics.reference import PERCENTILES, Reference
from gendesign.metrics.similarity import molecule_distance
from gendesign.molecules.oddities import shares

DRAWS = 32  # random sets of natural sequences that an expected correlation is averaged over
COMPARED = 1024  # natural sequences of one length whose pairs are compared
LOOKED_AT = 2048  # unseen molecules among which oddities are counted, some of them slow to look for
ALIGNED = 128  # the same where lengths differ and pairs are aligned, which is slow


def build_reference(
    training: Sequence[str],
    alphabet: str,
    *,
    genes: Sequence[object] | None = None,
    counts: Floats | None = None,
    guide_scores: Floats | None = None,
    reward_scores: Mapping[str, Floats] | None = None,
    naturalness: Floats | None = None,
    top_fraction: float = 0.01,
    word_lengths: Sequence[int] = (3, 6),
    notes: Mapping[str, str] | None = None,
) -> Reference:
    """Build the reference of a backbone from what it was trained on.

    The natural set is one training sequence a gene, the one with the highest count (the first of equals), so
    that genes with many alleles do not dominate. The top sequences are all training sequences whose guide
    score reaches the (1 - top_fraction) quantile of the natural set; each gene among them has weight 1.

    Args:
        training: the sequences that the backbone is trained on.
        alphabet: letters, in the order of the codec.
        genes: the gene (family, cluster) of each training sequence; None counts each as its own.
        counts: how often each training sequence is seen in nature; None: equally.
        guide_scores: the guiding reward of each training sequence, for the top spectra; None leaves those out.
        reward_scores: reward name -> values over natural sequences (any set), for quantiles; NaN are left out.
        naturalness: log-likelihood bound of unseen natural sequences, in nats a token.
        top_fraction: in (0, 1).
        word_lengths: of the spectra; those with more than 65,536 words are left out.
        notes: sentences that say what was measured over what.

    Returns:
        the reference. It holds figures and hashes, none of the sequences.

    Raises:
        DesignError: no training sequence, letters outside the alphabet, or lengths that do not fit.
    """
    num = len(training)
    family = list(genes) if genes is not None else list(range(num))
    count = counts if counts is not None else np.ones(num)
    if not any(training):
        raise DesignError("a reference needs training sequences, but came none")
    if (
        len(family) != num
        or count.shape != (num,)
        or (guide_scores is not None and guide_scores.shape != (num,))
    ):
        raise DesignError(f"genes, counts and guide_scores must have one entry a training sequence ({num})")
    if not 0 < top_fraction < 1:
        raise DesignError(f"top_fraction must be in (0, 1), but came {top_fraction}")
    for row, sequence in enumerate(training):
        if not set(sequence) <= set(alphabet):
            raise DesignError(f"training sequence {row} holds a letter outside {alphabet!r}: {sequence!r}")
    best: dict[object, int] = {}
    for row, gene in enumerate(family):
        if gene not in best or count[row] > count[best[gene]]:
            best[gene] = row
    natural = np.array(sorted(best.values()), dtype=np.int64)
    chosen = [training[row] for row in natural]
    lengths = [k for k in word_lengths if len(alphabet) ** k <= 2**16]
    shuffled = [chosen[i] for i in np.random.default_rng(0).permutation(len(chosen))]
    halves = shuffled[: len(chosen) // 2], shuffled[len(chosen) // 2 :]
    half = {}
    if len(chosen) > 1:
        half = {k: spectrum_correlation(*(kmer_spectrum(h, k, alphabet) for h in halves)) for k in lengths}
    spectra = {k: kmer_spectrum(chosen, k, alphabet) for k in lengths}
    top: dict[int, Floats] = {}
    said = dict(notes or {})
    if guide_scores is not None:
        threshold = float(np.nanquantile(guide_scores[natural], 1 - top_fraction))
        rows = np.flatnonzero(guide_scores >= threshold).tolist()
        members: dict[object, int] = {}
        for row in rows:
            members[family[row]] = members.get(family[row], 0) + 1
        weights = [1.0 / members[family[row]] for row in rows]
        top = {k: kmer_spectrum([training[r] for r in rows], k, alphabet, weights=weights) for k in lengths}
        said.setdefault(
            "top",
            f"the {len(rows):,} training sequences of {len(members):,} genes that the guide scores at least "
            f"{threshold:.4g}, the top {100 * top_fraction:g} % of one sequence a gene; each gene counts once",
        )
    sizes, expected = _expected(chosen, alphabet, {"natural": spectra, "top": top})
    return Reference(
        alphabet=alphabet,
        hashes=hash_kmers(training, Reference.word, alphabet),
        spectra=spectra,
        top_spectra=top,
        half_correlation=half,
        expected_sizes=sizes,
        expected=expected,
        natural_facts=_facts(chosen, alphabet),
        reward_quantiles={
            name: np.nanpercentile(values, PERCENTILES) for name, values in (reward_scores or {}).items()
        },
        naturalness=None if naturalness is None else np.nanpercentile(naturalness, PERCENTILES),
        notes=said,
    )


def _expected(
    natural: Sequence[str], alphabet: str, spectra: Mapping[str, Mapping[int, Floats]]
) -> tuple[Floats, dict[tuple[str, int], Floats]]:
    """Mean correlation of random natural sets with each spectrum, over sizes 1, 2, 4, ... to half of all."""
    most = max(1, len(natural) // 2)
    sizes = [2**i for i in range(most.bit_length()) if 2**i < most] + [most]
    parts = [(kind, k, values) for kind, some in spectra.items() for k, values in some.items()]
    means = {(kind, k): np.full(len(sizes), np.nan) for kind, k, _ in parts}
    rng = np.random.default_rng(0)
    for place, size in enumerate(sizes):
        found: dict[tuple[str, int], list[float]] = {key: [] for key in means}
        for _ in range(DRAWS):
            drawn = [natural[i] for i in rng.permutation(len(natural))[:size]]
            for k in {k for _, k, _ in parts}:
                if max(map(len, drawn)) >= k:
                    own = kmer_spectrum(drawn, k, alphabet)
                    for kind, length, values in parts:
                        if length == k:
                            found[kind, k].append(spectrum_correlation(own, values))
        for key, correlations in found.items():
            known = [r for r in correlations if np.isfinite(r)]
            means[key][place] = np.mean(known) if known else np.nan
    return np.array(sizes, dtype=np.float64), means


def _facts(natural: Sequence[str], alphabet: str) -> dict[str, float]:
    """What the report's table of variety says of natural sequences; those that have no value are left out."""
    one_length = len({len(sequence) for sequence in natural}) == 1
    rows = np.random.default_rng(0).permutation(len(natural))[: COMPARED if one_length else ALIGNED]
    runs = longest_run(natural)
    facts = {
        "num": float(len(natural)),
        "distinct": float(len(set(natural))),
        "mean_distance": mean_pairwise_distance([natural[i] for i in rows]),
        "median_run": float(np.median(runs)),
        "longest_run": float(runs.max()),
    }
    if set(alphabet) <= set("ACGTU"):
        content = gc_content(natural)
        facts["gc"] = float(content[np.isfinite(content)].mean())
    return {name: value for name, value in facts.items() if np.isfinite(value)}


def build_molecule_reference(
    training: Sequence[str],
    unseen: Sequence[str],
    *,
    reward_scores: Mapping[str, Floats] | None = None,
    naturalness: Floats | None = None,
    notes: Mapping[str, str] | None = None,
) -> MoleculeReference:
    """Build the reference of a backbone of molecules.

    Args:
        training: the molecules that the backbone is trained on, as canonical SMILES.
        unseen: molecules of the same kind, which stand for nature in every figure.
        reward_scores: reward name -> values over natural molecules (any set), for quantiles; NaN are left out.
        naturalness: log-likelihood bound of unseen molecules, in nats a token.
        notes: sentences that say what was measured over what.

    Returns:
        the reference. It holds figures and hashes, none of the molecules.

    Raises:
        DesignError: no training molecule, or no unseen one.
        MissingExtraError: RDKit is not installed.
    """
    if not len(training) or not len(unseen):
        raise DesignError(
            "a reference needs training molecules and unseen ones, but came "
            f"{len(training)} and {len(unseen)}"
        )
    rows = np.random.default_rng(0).permutation(len(unseen))[:COMPARED]
    distances = molecule_distance([unseen[row] for row in rows])[np.triu_indices(len(rows), 1)]
    facts = {"num": float(len(unseen)), "mean_distance": float(np.mean(distances[np.isfinite(distances)]))}
    facts |= shares(unseen[row] for row in np.random.default_rng(1).permutation(len(unseen))[:LOOKED_AT])
    return MoleculeReference(
        np.unique(hash_molecules(training)),
        quantiles=_quantiles(properties(unseen)),
        ring_sizes=ring_sizes(unseen),
        natural_facts={name: value for name, value in facts.items() if np.isfinite(value)},
        reward_quantiles=_quantiles(reward_scores or {}),
        naturalness=None if naturalness is None else _quantiles({"": naturalness}).get(""),
        notes=dict(notes or {}),
    )


def _quantiles(values: Mapping[str, Floats]) -> dict[str, Floats]:
    known = {name: some[np.isfinite(some)] for name, some in values.items()}
    return {name: np.percentile(some, PERCENTILES) for name, some in known.items() if len(some)}
