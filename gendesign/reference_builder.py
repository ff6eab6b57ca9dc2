"""Measure natural sequences once, for all reports to come."""

from collections.abc import Mapping, Sequence

import numpy as np

from gendesign.errors import DesignError
from gendesign.kmers import Floats, encode_letters, kmer_spectrum, spectrum_correlation
from gendesign.reference import PERCENTILES, Reference


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
        the reference.

    Raises:
        DesignError: no training sequence, letters outside the alphabet, or lengths that do not fit.
    """
    num = len(training)
    length = max((len(sequence) for sequence in training), default=0)
    family = list(genes) if genes is not None else list(range(num))
    count = counts if counts is not None else np.ones(num)
    if not length:
        raise DesignError("a reference needs training sequences, but came none")
    if (
        len(family) != num
        or count.shape != (num,)
        or (guide_scores is not None and guide_scores.shape != (num,))
    ):
        raise DesignError(f"genes, counts and guide_scores must have one entry a training sequence ({num})")
    if not 0 < top_fraction < 1:
        raise DesignError(f"top_fraction must be in (0, 1), but came {top_fraction}")
    digits = np.full((num, length), len(alphabet), dtype=np.uint8)
    sizes = np.array([len(sequence) for sequence in training])
    flat = encode_letters(training, alphabet)
    letter = np.ones(len(flat), dtype=bool)
    letter[np.cumsum([0, *(sizes + 1)])] = False  # the separators
    digits[np.arange(length) < sizes[:, None]] = flat[letter]
    if (digits == 255).any():
        row = int((digits == 255).any(1).argmax())
        raise DesignError(f"training sequence {row} holds a letter outside {alphabet!r}: {training[row]!r}")
    best: dict[object, int] = {}
    for row, gene in enumerate(family):
        if gene not in best or count[row] > count[best[gene]]:
            best[gene] = row
    natural = np.array(sorted(best.values()), dtype=np.int32)
    chosen = [training[row] for row in natural]
    lengths = [k for k in word_lengths if len(alphabet) ** k <= 2**16]
    shuffled = [chosen[i] for i in np.random.default_rng(0).permutation(len(chosen))]
    halves = shuffled[: len(chosen) // 2], shuffled[len(chosen) // 2 :]
    half = {}
    if len(chosen) > 1:
        half = {k: spectrum_correlation(*(kmer_spectrum(h, k, alphabet) for h in halves)) for k in lengths}
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
    quantiles = {}
    for name, values in (reward_scores or {}).items():
        quantiles[name] = np.nanpercentile(values, PERCENTILES)
    return Reference(
        alphabet=alphabet,
        training=digits,
        natural=natural,
        spectra={k: kmer_spectrum(chosen, k, alphabet) for k in lengths},
        top_spectra=top,
        half_correlation=half,
        reward_quantiles=quantiles,
        naturalness=None if naturalness is None else np.nanpercentile(naturalness, PERCENTILES),
        notes=said,
    )
