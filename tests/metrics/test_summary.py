"""Spectra, copies, distances, shortlists and references against brute force."""

import itertools

import numpy as np
import pytest

from gendesign.errors import CheckpointError, DesignError, OutputError
from gendesign.metrics import summary as metrics
from gendesign.metrics.kmers import encode_letters
from gendesign.metrics.summary import Reference, build_reference


def random_designs(num, low, high, alphabet="ACGT", seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(alphabet), rng.integers(low, high + 1))) for _ in range(num)]


def edit_distance(a, b):
    table = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i, j in itertools.product(range(1, len(a) + 1), range(1, len(b) + 1)):
        change = table[i - 1, j - 1] + (a[i - 1] != b[j - 1])
        table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, change)
    return table[len(a), len(b)]


# ---------------------------------------------------------------- spectra


@pytest.mark.parametrize("alphabet", ["ACGT", "TGCA", "ab?"])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_spectrum_counts_every_word(alphabet, k):
    designs = [*random_designs(20, 0, 12, alphabet), alphabet[0] * 3 + "\u03b1x" + alphabet[1] * 7]
    words = ["".join(word) for word in itertools.product(alphabet, repeat=k)]
    weights = np.linspace(0, 2, len(designs))
    counts = np.zeros((2, len(words)))
    for design, weight in zip(designs, weights, strict=True):
        for start in range(len(design) - k + 1):
            if design[start : start + k] in words:
                counts[:, words.index(design[start : start + k])] += 1, weight
    expected = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(metrics.kmer_spectrum(designs, k, alphabet), expected[0])
    np.testing.assert_allclose(metrics.kmer_spectrum(designs, k, alphabet, weights=weights), expected[1])


def test_words_do_not_span_designs():
    spectrum = metrics.kmer_spectrum(["AC", "GT"], 2)
    assert np.flatnonzero(spectrum).tolist() == [1, 11]  # AC and GT, but never CG


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.kmer_spectrum(["ACG"], 4), "holds a word"),
        (lambda: metrics.kmer_spectrum(["NNNN"], 2), "holds a word"),
        (lambda: metrics.kmer_spectrum([], 2), "holds a word"),
        (lambda: metrics.kmer_spectrum(["ACG"], 0), "word length"),
        (lambda: metrics.kmer_spectrum(["ACG"], 12), "word length"),
        (lambda: metrics.kmer_spectrum(["ACG"], 2, "A"), "alphabet"),
        (lambda: metrics.kmer_spectrum(["ACG"], 2, "AAC"), "alphabet"),
        (lambda: metrics.kmer_spectrum(["ACG"], 2, "A\u03b1"), "alphabet"),
        (lambda: metrics.kmer_spectrum(["ACG"], 2, weights=[1.0, 2.0]), "weights"),
        (lambda: metrics.kmer_spectrum(["ACG"], 2, weights=[-1.0]), "weights"),
        (lambda: metrics.spectrum_correlation(np.ones(4), np.ones(16)), "same words"),
        (lambda: metrics.hash_kmers(["ACG"], 0), "word length"),
    ],
)
def test_spectra_refuse(call, match):
    with pytest.raises(DesignError, match=match):
        call()


def test_correlation_is_pearson():
    a, b = np.random.default_rng(0).random((2, 64))
    assert metrics.spectrum_correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
    assert metrics.spectrum_correlation(a, 2 * a + 3) == pytest.approx(1)
    assert metrics.spectrum_correlation(a, -a) == pytest.approx(-1)
    assert np.isnan(metrics.spectrum_correlation(a, np.ones(64)))


# ---------------------------------------------------------------- copies


def finaliser(value):
    """MurmurHash3's fmix64, in Python's own integers."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = ((value ^ value >> 33) * factor) % 2**64
    return value ^ value >> 33


@pytest.mark.parametrize("k", [1, 5, 16, 32])
def test_hashes_are_the_finaliser_of_the_words_numbers(k):
    designs = [*random_designs(20, 0, 60, seed=11), "ACGTN" * 20, "T" * 40]
    words = {d[i : i + k] for d in designs for i in range(len(d) - k + 1) if "N" not in d[i : i + k]}
    numbers = [sum("ACGT".index(letter) * 4 ** (k - 1 - i) for i, letter in enumerate(w)) for w in words]
    hashes = metrics.hash_kmers(designs, k)
    assert hashes.dtype == np.uint32
    assert hashes.tolist() == sorted({finaliser(number) >> 32 for number in numbers})


def test_false_positives_are_as_rare_as_stated():
    rng = np.random.default_rng(0)
    known, other = ("".join(np.array(list("ACGT"))[rng.integers(0, 4, 400_000)]) for _ in range(2))
    hashes = metrics.hash_kmers([known])
    pieces = {known[i : i + 16] for i in range(len(known) - 15)}
    truly = sum(other[i : i + 16] in pieces for i in range(len(other) - 15))
    words = len(other) - 15
    wrong = metrics.copied_fraction([other], hashes)[0] * words - truly
    expected = words * len(hashes) / 2**32  # 37, Poisson
    assert abs(wrong - expected) < 5 * expected**0.5


@pytest.mark.parametrize(
    ("alphabet", "k"), [("ACGT", 4), ("ACGT", 16), ("ACGT", 17), ("ACDEFGHIKLMNPQRSTVWY", 9)]
)
def test_hashes_keep_words_apart(alphabet, k):
    designs = random_designs(300, 30, 60, alphabet)
    distinct = {design[i : i + k] for design in designs for i in range(len(design) - k + 1)}
    # about n^2 / 2^33 < .03 of a collision is expected
    assert len(metrics.hash_kmers(designs, k, alphabet)) == len(distinct)


@pytest.mark.parametrize(("alphabet", "k"), [("ACGT", 3), ("ACGT", 5), ("ACDEFGHIKLMNPQRSTVWY", 2)])
def test_copies_against_brute_force(alphabet, k):
    training = random_designs(12, 0, 20, alphabet, seed=1)
    designs = [*random_designs(30, 0, 20, alphabet, seed=2), training[3], "", alphabet[0] * (k - 1) + "!"]
    known = {sequence[i : i + k] for sequence in training for i in range(len(sequence) - k + 1)}
    longest, fraction = [], []
    for design in designs:
        hits = [design[i : i + k] in known for i in range(len(design) - k + 1)]
        legal = [set(design[i : i + k]) <= set(alphabet) for i in range(len(design) - k + 1)]
        runs = [len(list(run)) for hit, run in itertools.groupby(hits) if hit]
        longest.append(max(runs) + k - 1 if runs else 0)
        fraction.append(sum(hits) / sum(legal) if any(legal) else np.nan)
    hashes = metrics.hash_kmers(training, k, alphabet)
    assert metrics.longest_copied(designs, hashes, k=k, alphabet=alphabet).tolist() == longest
    np.testing.assert_allclose(metrics.copied_fraction(designs, hashes, k=k, alphabet=alphabet), fraction)
    assert max(longest) > k


def test_longest_copied_is_the_stretch_that_was_copied():
    training, designs = random_designs(50, 80, 80, seed=3), random_designs(4, 80, 80, seed=4)
    designs[1] = designs[1][:20] + training[7][30:57] + designs[1][47:]
    designs[2] = training[9]
    hashes = metrics.hash_kmers(training)
    lengths = metrics.longest_copied(designs, hashes)
    assert lengths[0] == lengths[3] == 0
    assert 27 <= lengths[1] <= 30  # a neighbouring letter may agree by chance
    assert lengths[2] == 80
    assert metrics.longest_copied(designs, hashes[:0]).tolist() == [0, 0, 0, 0]
    assert metrics.longest_copied([], hashes).shape == metrics.copied_fraction([], hashes).shape == (0,)


# ---------------------------------------------------------------- distances


@pytest.mark.parametrize(("low", "high"), [(9, 9), (0, 9)])
def test_distances_against_brute_force(low, high):
    designs = [*random_designs(14, low, high, "AC\u03b1", seed=5)]
    designs.append(designs[2])
    expected = np.zeros((15, 15))
    for i, j in itertools.product(range(15), repeat=2):
        a, b = designs[i], designs[j]
        edits = sum(x != y for x, y in zip(a, b, strict=True)) if low == high else edit_distance(a, b)
        expected[i, j] = edits / max(len(a), len(b), 1)
    got = metrics.pairwise_distance(designs)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    pairs = [expected[i, j] for i, j in itertools.combinations(range(15), 2)]
    assert metrics.mean_pairwise_distance(designs) == pytest.approx(np.mean(pairs))


def test_edit_distances_where_words_of_64_letters_end():
    designs = [random_designs(1, n, n, "ACG", seed=n)[0] for n in (0, 1, 40, 63, 64, 65, 127, 128, 129, 150)]
    expected = [[edit_distance(a, b) / max(len(a), len(b), 1) for b in designs] for a in designs]
    np.testing.assert_array_equal(metrics.pairwise_distance(designs), expected)


def test_some_designs_stand_for_many(monkeypatch):
    designs = random_designs(9, 20, 20)
    some = metrics.mean_pairwise_distance(designs[::4])
    monkeypatch.setattr("gendesign.metrics.distances._MOST", 3)
    assert metrics.mean_pairwise_distance(designs) == some
    values, worst = np.array([4.0, 9.0, 9.0, 7.0, 8.0, 1.0, 2.0, 3.0, 5.0]), designs[5]

    def apart(some):
        return np.array([[float((a == worst) != (b == worst)) for b in some] for a in some])

    assert 5 in metrics.diverse_subset(values, designs, 2, diversity=1.0, distance=apart)
    monkeypatch.setattr(
        "gendesign.metrics.summary.CANDIDATES", 2
    )  # of nine, four a design that is wanted: eight
    assert 5 not in metrics.diverse_subset(values, designs, 2, diversity=1.0, distance=apart)


def test_resampling_in_parts_draws_the_same(monkeypatch):
    values = np.random.default_rng(3).normal(size=37)
    whole = metrics.bootstrap_interval(values)
    monkeypatch.setattr("gendesign.metrics.summary._DRAWN", 500)
    assert metrics.bootstrap_interval(values) == whole


def test_edge_cases_of_sets():
    assert metrics.pairwise_distance([]).shape == (0, 0)
    assert metrics.pairwise_distance(["", ""]).tolist() == [[0, 0], [0, 0]]
    assert np.isnan(metrics.mean_pairwise_distance(["ACGT"]))
    assert metrics.unique_fraction(["A", "A", "C", "G"]) == 0.75
    assert np.isnan(metrics.unique_fraction([]))
    np.testing.assert_allclose(metrics.gc_content(["GGcA", "AT", ""]), [0.75, 0, np.nan])
    assert metrics.longest_run(["AACCCA", "", "ACGT", "GGGG"]).tolist() == [3, 0, 1, 4]


# ---------------------------------------------------------------- percentiles and intervals


def test_percentiles():
    population = np.random.default_rng(0).normal(size=10_000)
    quantiles = np.percentile(population, metrics.PERCENTILES)
    values = np.array([-9, -1.5, 0.3, 9, np.nan])
    expected = [0, 100 * (population < -1.5).mean(), 100 * (population < 0.3).mean(), 100, np.nan]
    np.testing.assert_allclose(metrics.percentile_of(values, quantiles), expected, atol=0.05)


def test_percentiles_of_shared_values():
    quantiles = np.percentile([-2.0] * 10 + [0.0] * 60 + [1.0] * 30, metrics.PERCENTILES)
    values = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0])
    got = metrics.percentile_of(values, quantiles)
    assert got[[0, 1, 5]].tolist() == [0, 0, 100]
    np.testing.assert_allclose(got[2:5], [10, 10, 70], atol=1.5)  # not the 70 and 100 of those who share it


def test_bootstrap_interval_covers():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        low, high = metrics.bootstrap_interval(rng.normal(3, 2, 60), np.mean, resamples=400, seed=seed)
        hits += low <= 3 <= high
    assert 0.89 <= hits / 200 <= 0.985
    values = np.array([1.0, 2.0, np.nan, 5.0])
    assert metrics.bootstrap_interval(values) == metrics.bootstrap_interval(values[[0, 1, 3]])
    assert np.isnan(metrics.bootstrap_interval(np.array([np.nan]))).all()
    assert metrics.bootstrap_interval(np.array([4.0])) == (4.0, 4.0)


# ---------------------------------------------------------------- shortlist


def test_shortlist_follows_its_rule():
    designs = [*random_designs(25, 12, 12, seed=6), *random_designs(3, 12, 12, seed=6)]  # three copies
    values = np.round(np.random.default_rng(7).normal(size=28), 1)
    values[[4, 9]] = np.nan
    distance = metrics.pairwise_distance(designs)
    for diversity in (0.0, 0.5, 1.0):
        left = [i for i in range(28) if not np.isnan(values[i])]
        left = [
            i
            for i in left
            if all(designs[i] != designs[j] or (values[j], -j) <= (values[i], -i) for j in left)
        ]
        levels = sorted({values[i] for i in left})
        widest = max(distance[i, j] for i in left for j in left)
        expected = [max(left, key=lambda i: (values[i], -i))]
        while len(expected) < 10:
            gain = {
                i: (1 - diversity) * levels.index(values[i]) / (len(levels) - 1)
                + diversity * min(distance[i, j] for j in expected) / widest
                for i in left
                if i not in expected
            }
            expected.append(max(gain, key=lambda i: (round(gain[i], 9), -i)))
        chosen = metrics.diverse_subset(values, designs, 10, diversity=diversity)
        assert chosen.tolist() == expected
        assert len({designs[i] for i in chosen}) == 10
    assert (
        values[metrics.diverse_subset(values, designs, 9, diversity=0.0)].tolist()
        == sorted(values[left])[:-10:-1]
    )


def test_shortlist_never_repeats_and_may_be_short():
    assert metrics.diverse_subset(np.array([1.0, 3, 2, 3]), ["AA", "CC", "AA", "CC"], 4).tolist() == [1, 2]
    assert metrics.diverse_subset(np.array([1.0, 3]), ["AA", "CC"], 1, maximise=False).tolist() == [0]
    assert metrics.diverse_subset(np.array([np.nan]), ["AA"], 3).tolist() == []
    spread = ["AAAA", "AAAC", "CCCC"]
    assert metrics.diverse_subset(np.array([3.0, 2, 1]), spread, 2, diversity=1.0).tolist() == [0, 2]
    assert metrics.diverse_subset(np.array([3.0, 2, 1]), spread, 2, diversity=0.0).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.diverse_subset(np.ones(2), ["A", "C"], 0), "at least 1"),
        (lambda: metrics.diverse_subset(np.ones(2), ["A", "C"], 1, diversity=1.5), "diversity"),
        (lambda: metrics.diverse_subset(np.ones(3), ["A", "C"], 1), "one value"),
    ],
)
def test_shortlist_refuses(call, match):
    with pytest.raises(DesignError, match=match):
        call()


# ---------------------------------------------------------------- reference


def small_reference(variable=False, alphabet="ACGT"):
    training = random_designs(60, 20 if variable else 30, 30, alphabet, seed=8)
    scores = np.arange(60.0)
    return training, build_reference(
        training,
        alphabet,
        genes=[i // 3 for i in range(60)],
        counts=np.array([1.0, 5, 5] * 20),
        guide_scores=scores,
        reward_scores={"<my> reward": np.append(scores, np.nan)},
        naturalness=-1.3 + 0.001 * scores,
        top_fraction=0.2,
        word_lengths=(2, 3, 20),
        notes={"natural": "one a gene"},
    )


@pytest.mark.parametrize(
    ("variable", "alphabet"), [(False, "ACGT"), (True, "ACGT"), (True, "ACDEFGHIKLMNPQRSTVWY")]
)
def test_reference_round_trip(tmp_path, variable, alphabet):
    training, built = small_reference(variable, alphabet)
    built.save(tmp_path / "reference.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["reference.safetensors"]
    read = Reference.load(tmp_path / "reference.safetensors")
    for reference in (built, read):
        assert (reference.alphabet, reference.word) == (alphabet, 16)
        assert reference.notes["natural"] == "one a gene"
        assert "genes" in reference.notes["top"]
        assert list(reference.spectra) == list(reference.top_spectra) == [2, 3]
        np.testing.assert_array_equal(reference.hashes, metrics.hash_kmers(training, 16, alphabet))
        np.testing.assert_allclose(
            reference.spectra[2], metrics.kmer_spectrum(training[1::3], 2, alphabet), rtol=1e-6
        )  # of the most common allele, the first of equals
        np.testing.assert_allclose(reference.reward_quantiles["<my> reward"], np.linspace(0, 59, 101))
        np.testing.assert_allclose(reference.naturalness, np.linspace(-1.3, -1.241, 101))
        assert reference.half_correlation == built.half_correlation
        assert reference.expected_sizes.tolist() == [1, 2, 4, 8, 10]
        assert sorted(reference.expected) == [("natural", 2), ("natural", 3), ("top", 2), ("top", 3)]
        for key, values in built.expected.items():
            np.testing.assert_array_equal(reference.expected[key], values)
        assert reference.natural_facts == built.natural_facts


@pytest.mark.parametrize("variable", [False, True])
def test_reference_files_hold_no_sequence(tmp_path, variable):
    from safetensors.numpy import load

    training, built = small_reference(variable)
    built.save(tmp_path / "reference.safetensors")
    content = (tmp_path / "reference.safetensors").read_bytes()
    tensors = load(content)
    assert sorted(tensors) == sorted(
        ["hashes", "expected_sizes", "naturalness", "reward/<my> reward"]
        + [f"{kind}/{k}" for kind in ("spectrum", "top_spectrum") for k in (2, 3)]
        + [f"expected/{kind}/{k}" for kind in ("natural", "top") for k in (2, 3)]
    )
    assert tensors["hashes"].shape == (len({t[i : i + 16] for t in training for i in range(len(t) - 15)}),)
    # sorted hashes forget which word came from which sequence, and where
    assert (np.diff(tensors["hashes"].astype(np.int64)) > 0).all()
    digits = [bytes("ACGT".index(letter) for letter in t) for t in training]
    packed = [
        np.packbits([[d >> 1 & 1, d & 1] for d in row], bitorder=order).tobytes()
        for row in digits
        for order in ("big", "little")
    ]
    for trace in [
        *(t[:8].encode() for t in training),
        *(row[:8] for row in digits),
        *(p[:7] for p in packed),
    ]:
        assert trace not in content
    numbers = {
        int(t[i : i + 16].translate(str.maketrans("ACGT", "0123")), 4)
        for t in training
        for i in range(len(t) - 15)
    }
    assert not numbers & set(tensors["hashes"].tolist())


def test_expected_correlation_is_linear_in_the_logarithm():
    values = np.array([0.1, 0.3, 0.7])
    reference = Reference(
        "ACGT", np.empty(0, np.uint32), expected_sizes=np.array([1.0, 4, 64]), expected={("top", 6): values}
    )
    got = [reference.expected_correlation("top", 6, n) for n in (1, 2, 4, 16, 32, 64, 1000)]
    assert got == pytest.approx([0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.7])
    assert np.isnan(reference.expected_correlation("natural", 6, 4))
    values[1] = np.nan  # no draw of that size had a word
    assert reference.expected_correlation("top", 6, 8) == pytest.approx(0.4)
    with pytest.raises(DesignError, match="at least 1"):
        reference.expected_correlation("top", 6, 0)


def test_expected_correlation_is_that_of_random_natural_sets():
    natural = random_designs(600, 40, 40, "AAAACCGT", seed=12)
    built = build_reference(natural, "ACGT", guide_scores=np.arange(600.0), top_fraction=0.2)
    rng = np.random.default_rng(5)
    for kind, spectra in (("natural", built.spectra), ("top", built.top_spectra)):
        for n in (16, 300):
            draws = []
            for _ in range(60):
                some = metrics.kmer_spectrum([natural[i] for i in rng.choice(600, n, replace=False)], 3)
                draws.append(metrics.spectrum_correlation(some, spectra[3]))
            error = np.std(draws) * (1 / 60 + 1 / 32) ** 0.5
            assert built.expected_correlation(kind, 3, n) == pytest.approx(np.mean(draws), abs=5 * error)


@pytest.mark.parametrize(("variable", "alphabet"), [(False, "ACGT"), (True, "ACGT"), (False, "ADEF")])
def test_natural_facts(variable, alphabet):
    training, built = small_reference(variable, alphabet)
    natural, facts = training[1::3], built.natural_facts
    assert facts["mean_distance"] == pytest.approx(metrics.mean_pairwise_distance(natural))
    runs = [max(len(list(run)) for _, run in itertools.groupby(t)) for t in natural]
    assert (facts["num"], facts["distinct"]) == (20, 20)
    assert (facts["median_run"], facts["longest_run"]) == (np.median(runs), max(runs))
    assert ("gc" in facts) == (alphabet == "ACGT")
    if "gc" in facts:
        assert facts["gc"] == pytest.approx(
            np.mean([(t.count("G") + t.count("C")) / len(t) for t in natural])
        )


def test_top_spectrum_counts_every_gene_once():
    training, built = small_reference()
    # natural rows are 1, 4, ..., 58: their 80th percentile is 46.6, so rows 47 (of gene 15) to 59 are on top
    rows = range(47, 60)
    weights = [1.0 if row == 47 else 1 / 3 for row in rows]
    expected = metrics.kmer_spectrum([training[r] for r in rows], 3, weights=weights)
    np.testing.assert_allclose(built.top_spectra[3], expected)
    assert "13 training sequences of 5 genes" in built.notes["top"]


def test_half_correlation_rises_with_data():
    few, many = (build_reference(random_designs(n, 80, 80, "AAAACCGT", seed=9), "ACGT") for n in (20, 2000))
    assert 0 < few.half_correlation[6] < many.half_correlation[6] < 1


def test_novelty_against_brute_force():
    training, reference = small_reference()
    designs = [
        *random_designs(5, 30, 30, seed=10),
        training[4],
        training[5][:20] + "ACGTACGTAC",
        "ACGT",
        "N" * 30,
    ]
    assert "nearest_distance" not in metrics.novelty(designs, reference)
    got = metrics.novelty(designs, reference, training=training)
    assert got["nearest_distance"][5] == 0
    assert got["longest_copied"][5] == 30
    assert got["longest_copied"][6] >= 20
    assert np.isnan(got["copied_fraction"][7:]).all()
    assert metrics.novelty([], reference, training=training)["nearest_distance"].shape == (0,)


@pytest.mark.parametrize("alphabet", ["ACGT", "ab\u03b1?!c"])
def test_nearest_distance_against_brute_force(alphabet):
    training = [*random_designs(300, 4, 9, alphabet, seed=13), ""]
    designs = [*random_designs(60, 2, 11, alphabet, seed=14), training[7], "", "N" * 6]
    expected = []
    for d in designs:
        same = [t for t in training if len(t) == len(d) > 0]
        expected.append(
            min((sum(x != y for x, y in zip(d, t, strict=True)) / len(d) for t in same), default=np.nan)
        )
    got = metrics.nearest_distance(designs, training)
    np.testing.assert_allclose(got, expected, atol=1e-12)
    assert got[60] == 0 and np.isnan(got[61]) and got[62] == 1
    assert np.isnan(metrics.nearest_distance(designs, [])).all()
    assert metrics.nearest_distance([], training).shape == (0,)


def test_nearest_distance_among_all_natural_promoters():
    letters = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(0).integers(0, 4, (56_304, 80))]
    training = [row.tobytes().decode() for row in letters]
    designs = random_designs(63, 80, 80, seed=1) + [training[50_000][:79] + "N"]
    got = metrics.nearest_distance(designs, training)
    assert got[63] == 1 / 80 and (got[:63] > 0.3).all()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: build_reference([], "ACGT"), "came none"),
        (lambda: build_reference(["ACGT", "ACNT"], "ACGT"), "sequence 1 .*ACNT"),
        (lambda: build_reference(["ACGT"], "ACGT", genes=[1, 2]), "one entry"),
        (lambda: build_reference(["ACGT"], "ACGT", counts=np.ones(2)), "one entry"),
        (lambda: build_reference(["ACGT"], "ACGT", guide_scores=np.ones(2)), "one entry"),
        (lambda: build_reference(["ACGT"], "ACGT", top_fraction=1.0), "top_fraction"),
    ],
)
def test_building_refuses(call, match):
    with pytest.raises(DesignError, match=match):
        call()


def test_damaged_references_are_refused(tmp_path):
    from safetensors.numpy import load, save

    path = tmp_path / "reference.safetensors"
    with pytest.raises(CheckpointError, match="there is none"):
        Reference.load(path)
    small_reference()[1].save(path)
    whole = path.read_bytes()
    head = {"format": "gendesign-reference", "version": "2", "alphabet": "ACGT", "word": "16"}
    head |= {"half_correlation": "{}", "natural_facts": "{}", "notes": "{}"}
    tensors = load(whole)
    broken = {
        "damaged": [
            whole[: len(whole) // 2],
            b"",
            b"\x80\x04pickle",
            save(tensors, metadata=head | {"alphabet": "AAAA"}),
            save(tensors, metadata=head | {"alphabet": "AC"}),
            save(tensors, metadata=head | {"half_correlation": "["}),
            save(tensors, metadata=head | {"natural_facts": "[1]"}),
            save({k: v for k, v in tensors.items() if k != "hashes"}, metadata=head),
            save(tensors | {"hashes": tensors["hashes"][::-1].copy()}, metadata=head),
            save(tensors | {"hashes": tensors["hashes"].astype(np.int64)}, metadata=head),
            save(tensors | {"expected_sizes": np.array([0.0, 1, 2, 3, 4])}, metadata=head),
            save(tensors | {"expected/top/3": np.ones(4)}, metadata=head),
            save(tensors | {"spectrum/3": np.ones(63, np.float32)}, metadata=head),
            save(tensors | {"reward/x": np.arange(101.0)[::-1].copy()}, metadata=head),
            save(tensors | {"reward/x": np.full(101, np.nan)}, metadata=head),
        ],
        "expected 'gendesign-reference'": [save(tensors), save(tensors, metadata=head | {"version": "1"})],
    }
    for match, contents in broken.items():
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(CheckpointError, match=match):
                Reference.load(path)
    path.write_bytes(save(tensors, metadata=head))
    Reference.load(path)


def test_unwritable_reference_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        small_reference()[1].save(tmp_path / "taken")
    with pytest.raises(OutputError, match="cannot write"):
        small_reference()[1].save(tmp_path / "none" / "reference.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_separators_frame_designs():
    assert encode_letters(["AC", "", "T?"], "ACGT").tolist() == [255, 0, 1, 255, 255, 3, 255, 255]


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 3)])
def test_distances_of_arrays_are_euclidean(shape):
    rng = np.random.default_rng(0)
    designs = list(rng.normal(size=(7, *shape)))
    designs.append(designs[2].copy())
    between = metrics.pairwise_distance(designs)
    for i, j in itertools.product(range(8), repeat=2):
        assert between[i, j] == pytest.approx(np.sqrt(((designs[i] - designs[j]) ** 2).sum()))
    assert (between == between.T).all() and (np.diag(between) == 0).all() and between[2, 7] == 0
    assert metrics.mean_pairwise_distance(designs) == pytest.approx(between.sum() / 56)
    training = rng.normal(size=(30, *shape))
    training[11] = designs[3]
    distance, nearest = metrics.nearest_array(designs, training)
    brute = [[np.linalg.norm((d - t).ravel()) for t in training] for d in designs]
    assert nearest.tolist() == np.argmin(brute, axis=1).tolist()
    assert distance.tolist() == pytest.approx(np.min(brute, axis=1).tolist()) and distance[3] == 0


def test_equal_arrays_are_one_design():
    designs = [
        np.array([0.0, 1.0]),
        np.array([-0.0, 1.0]),
        np.array([[0.0, 1.0]]),
        np.array([0.0, 1.0 + 1e-16]),
    ]
    assert metrics.num_distinct(designs) == 2 and metrics.num_distinct(["a", "b", "a"]) == 2
    assert metrics.unique_fraction(designs) == 0.5


def test_a_subset_of_arrays_is_spread():
    designs = [np.array([float(i), 0.0]) for i in (0, 1, 2, 50, 51, 100)]
    chosen = metrics.diverse_subset(np.array([5.0, 4.0, 3.0, 2.0, np.nan, 1.0]), designs, 3, diversity=1.0)
    assert chosen.tolist() == [0, 5, 3]
