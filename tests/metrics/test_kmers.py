"""Words of length k: likeness of single designs to a spectrum."""

import numpy as np
import pytest

from gendesign.errors import DesignError
from gendesign.metrics.kmers import kmer_spectrum, word_likeness


def test_likeness_is_the_mean_log_ratio_of_words_to_even_letters() -> None:
    spectrum = np.zeros(16)
    spectrum[[0, 1, 6]] = 0.5, 0.25, 0.25  # AA, AC, CG
    found = word_likeness(["AAA", "ACG", "TTT", "AANAC", "A", "NNN"], spectrum, 2)
    half, quarter, unseen = np.log(8), np.log(4), np.log(0.1)
    assert found[:4] == pytest.approx([half, quarter, unseen, (half + quarter) / 2])
    assert np.isnan(found[4:]).all()


def test_natural_sequences_are_more_alike_than_shuffled_ones() -> None:
    rng = np.random.default_rng(0)
    natural = ["".join(rng.choice(list("ACGT"), 40, p=[0.3, 0.2, 0.2, 0.3])) for _ in range(200)]
    even = ["".join(rng.choice(list("ACGT"), 40)) for _ in range(200)]
    spectrum = kmer_spectrum(natural, 3)
    own, other = (word_likeness(designs, spectrum, 3) for designs in (natural, even))
    # the mean over the set is the divergence of the words from even ones
    expected = float((spectrum * np.log(spectrum * 64)).sum())
    assert own.mean() == pytest.approx(expected, abs=1e-9) and other.mean() < own.mean() - 0.05


def test_a_spectrum_of_other_words_is_refused() -> None:
    with pytest.raises(DesignError, match="expected a spectrum of 64 words of k=3, but came shape"):
        word_likeness(["ACGT"], np.ones(16), 3)
