"""The report: one page that loads nothing, says what is true, and survives whatever is missing."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from gendesign.design_set import DesignSet
from gendesign.errors import OutputError
from gendesign.forms import Text
from gendesign.metrics import summary as metrics
from gendesign.report import render_report, write_report
from gendesign.report.likeness import information
from gendesign.report.sequences import coloured
from gendesign.report.text import (
    Verdict,
    check_overoptimisation,
    check_typicality,
    decimals_for,
    number,
    percent,
)
from gendesign.rewards.base import Scores, Status
from gendesign.steering.particles import Cost

VOID = {"meta", "br", "link", "img", "hr", "input"}
UNIT = "log expression"


class Page(HTMLParser):
    """Collects text, ids and everything that a browser would load; raises where tags do not nest."""

    def __init__(self, html):
        super().__init__()
        self.text, self.ids, self.loads, self.tags, self.stack = "", [], [], [], []
        self.feed(html)
        self.close()
        assert not self.stack, f"never closed: {self.stack}"
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for key, value in attributes:
            if key == "id":
                self.ids.append(value)
            if key in ("src", "href", "xlink:href", "data", "srcset", "action"):
                self.loads.append(value)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-1:]}"
        self.stack.pop()

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("style", "title"):
            self.text += (
                " " + data if data.isspace() or self.stack[-1] not in ("i", "span", "small") else data
            )


def designs_of(num, seed, alphabet="ACGT", low=40, high=40):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(alphabet), rng.integers(low, high + 1))) for _ in range(num)]


NATURAL = designs_of(400, 0, "AAACCGTTT")
REFERENCE = metrics.build_reference(
    NATURAL,
    "ACGT",
    guide_scores=np.linspace(0, 10, 400),
    reward_scores={"guide": np.linspace(0, 10, 400), "audit": np.linspace(0, 20, 400)},
    naturalness=np.linspace(-1.4, -1.2, 50),
    notes={"natural": "Natural rewards are of 400 made-up promoters."},
)


def make(num=24, *, designs=None, guide=9.0, audit=15.0, std=True, base=True, reference=REFERENCE, seed=1):
    """A run whose medians are exactly `guide` and `audit`; unsteered ones are 5.0 and 10.0."""
    designs = designs_of(num, seed) if designs is None else designs
    spread = np.linspace(-1, 1, len(designs))
    scores = {"guide": Scores(guide + spread, std=np.full(len(designs), 0.25) if std else None)}
    if audit is not None:
        scores["audit"] = Scores(audit + spread[::-1] if audit else audit + spread)
    return DesignSet(
        designs=designs,
        scores=scores,
        naturalness=-1.3 + 0.01 * spread,
        novelty={} if reference is None else metrics.novelty(designs, reference, training=NATURAL),
        kl=np.full(len(designs), 16.0),
        alpha=0.125,
        cost=Cost(20_000, 10_000, 3, 12.5),
        estimate=Cost(40_000, 40_000, 0, 0.0),
        provenance={
            "backbone": "toy-backbone",
            "steering": "SVDD",
            "seed": 17,
            "steps": 80,
            "rewards": {
                name: {"unit": UNIT, "source": "made up", "trained_on": "nothing"} for name in scores
            },
            "resolved": {"reward": {"class_path": "x"}, "steps": 80},
            "versions": {"gendesign": "9.8.7"},
        },
        base=make(20, guide=5.0, audit=audit and 10.0, base=False, reference=reference, seed=2)
        if base
        else None,
        reference=reference,
    )


@pytest.fixture(scope="module")
def full():
    html = render_report(make(num=64))
    return html, Page(html)


PANELS = {
    "reward_panel": "figures",
    "scatter_panel": "figures",
    "correlation_panel": "sequence_figures",
    "word_panel": "sequence_figures",
    "logo_panel": "sequence_figures",
}


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take most of the time; tests of the text leave them out."""
    for name in PANELS:
        monkeypatch.setattr(f"gendesign.report.{PANELS[name]}.{name}", lambda *args, **options: "<svg></svg>")


def test_page_is_well_formed_and_loads_nothing(full):
    html, page = full
    assert html.startswith("<!doctype html>")
    assert len(page.ids) == len(set(page.ids)) > 50
    assert all(load.startswith("#") and load[1:] in page.ids for load in page.loads)
    assert not re.search(r"https?:|@import|file:|//[a-z]", html)
    assert set(re.findall(r"url\((#?)", html)) <= {"#"}
    assert not {"script", "img", "link", "iframe", "object"} & set(page.tags)
    references = re.findall(r"url\(#([^)]+)\)", html)
    assert references and set(references) <= set(page.ids)


def test_a_form_of_ones_own_has_the_page_of_what_it_derives_from():
    class Aligned(Text):
        """Sequences with a column more in their files."""

    assert render_report(replace(make(), form=Aligned())) == render_report(make())


def test_headline_states_medians_and_percentiles(full):
    headline = re.search(r"<h1>(.*?)</h1>", full[0], re.DOTALL)[1]
    headline = re.sub(r"<[^>]+>", "", headline)
    assert headline == (
        "The median design scores 15.00 by a held-out score that steering never saw "
        "(above 75.0 % of natural sequences; unsteered: 10.00), and 9.00 by its guide "
        "(above 90.0 % of natural sequences; unsteered: 5.00)."
    )


@pytest.mark.parametrize(
    "said",
    [
        "64 designs from toy-backbone, SVDD toward guide",
        "No sign of over-optimisation",
        "The guide's median rose by 4.00, the held-out median rose by 5.00",
        "20,000",
        "40,000",
        "50 %",  # of the estimated network rows
        "25 %",
        "12.5",
        "0.125",
        "16.0 nats",
        "0.400 a base",
        "64 of 64",
        "made up",
        "9.8.7",
        "Natural rewards are of 400 made-up promoters.",
        "the top 1 % of one sequence a gene",
        "± 0.25",
        UNIT,
        "GC content",
    ],
)
def test_page_contains(full, said):
    assert said in full[1].text


def test_page_says_how_alike_words_are(full):
    run = make(num=64)
    steered, base = (
        metrics.spectrum_correlation(metrics.kmer_spectrum(designs, 6), REFERENCE.top_spectra[6])
        for designs in (run.designs, run.base.designs)
    )
    assert f"correlation {steered:.2f} against {base:.2f}" in full[1].text
    assert f"{REFERENCE.half_correlation[6]:.3f} for 6 letters" in full[1].text


def test_natural_column_is_what_was_measured_once(full):
    facts = REFERENCE.natural_facts
    assert "Distinctof all designs 400 of 400 20 of 20 64 of 64" in full[1].text
    assert (
        percent(100 * facts["gc"]) in full[1].text and percent(100 * facts["mean_distance"]) in full[1].text
    )
    assert f"{facts['median_run']:.0f} (most {facts['longest_run']:.0f})" in full[1].text


def test_without_training_sequences_the_distance_to_them_is_left_out(no_figures):
    run = make(base=False)
    told = ("Difference from training", "From nearest")
    assert all(text in render_report(run) for text in told)
    novelty = {name: values for name, values in run.novelty.items() if name != "nearest_distance"}
    html = render_report(replace(run, novelty=novelty))
    assert not any(text in html for text in told) and "Longest copied stretch" in html


def test_words_are_compared_with_as_many_natural_sequences(monkeypatch):
    rows = []
    monkeypatch.setattr(
        "gendesign.report.sequence_figures.correlation_panel",
        lambda name, given, **options: rows.extend(given) or "",
    )
    render_report(make(num=64))
    natural = [(label, points[-1]) for label, points in rows]
    assert [one.label for _, (one, _) in natural] == ["64 natural"] * 4
    expected = [REFERENCE.expected_correlation(kind, k, 64) for kind in ("natural", "top") for k in (3, 6)]
    assert [r for _, (_, r) in natural] == expected


def test_every_design_is_listed_in_rank_order(full):
    run = make(num=64)
    bodies = re.findall(r'<div class="seq">(.*?)</div>', full[0], re.DOTALL)
    listed = [re.sub(r"<[^>]+>", "", body) for body in bodies]
    assert listed == run.ranked().designs
    assert full[0].count("★") == 1 + 16  # the explanation and the shortlist


def test_a_long_list_is_cut_and_says_so(no_figures, monkeypatch):
    monkeypatch.setattr("gendesign.report.tables.LISTED", 15)
    run = make(num=40)
    values = np.where(np.arange(40) < 20, np.nan, run.scores["guide"].values)
    run = replace(run, scores=run.scores | {"guide": Scores(values)})
    html = render_report(run)
    assert html.count('<div class="seq">') == 15 + 15
    text = Page(html).text
    assert "8 more designs, of which the best 3 are listed; all are in designs.csv" in text
    assert "20 without a score by the guide, of which 15 are listed" in text


def test_failed_designs_are_listed_with_their_status(no_figures):
    run = make()
    status = [Status.OK] * 24
    status[5], status[20] = Status.TIMED_OUT, Status.INVALID
    message = [""] * 24
    message[5] = "no answer within 3 s"
    values = np.where([s is Status.OK for s in status], run.scores["guide"].values, np.nan)
    run = replace(run, scores=run.scores | {"guide": Scores(values, tuple(status), None, tuple(message))})
    html = render_report(run)
    page = Page(html)
    assert "2 without a score by the guide" in page.text
    assert "TIMED_OUT" in page.text and "INVALID" in page.text and "no answer within 3 s" in page.text
    assert "The median of the 22 designs with a score is" in page.text
    failed = html[html.index("2 without a score") :]
    for i in (5, 20):
        assert str(coloured(run.designs[i], "ACGT")) in failed


def test_user_strings_are_escaped():
    evil = '<script>alert("1")</script>'
    run = make(num=4, audit=None, base=False)
    run = replace(
        run,
        designs=[evil, "ACGT" * 10, "$a_b$", "\u03b1\u03b2"],
        scores={
            evil: Scores(
                np.array([1.0, 2, 3, np.nan]), (*[Status.OK] * 3, Status.FAILED), None, ("", "", "", evil)
            )
        },
        novelty={},
        provenance={
            "backbone": evil,
            "steering": evil,
            "command": evil,
            "rewards": {evil: {"unit": f"{evil} $x^2$", "source": evil, "trained_on": evil}},
            "config": {evil: [evil]},
            "versions": {evil: evil},
            "other": evil,
        },
    )
    html = render_report(run)
    page = Page(html)
    assert "script" not in page.tags
    assert evil in page.text
    assert "&lt;script&gt;" in html


def nothing(run, **changes):
    return replace(run, **changes)


EMPTY = Cost()


@pytest.mark.whole
@pytest.mark.parametrize(
    ("run", "said"),
    [
        (lambda: make(reference=None, base=False), "The backbone has no reference file"),
        (lambda: make(num=1), "The one design scores 14.00"),
        (lambda: nothing(make(num=2), naturalness=np.full(2, np.nan)), "The median design scores"),
        (lambda: make(designs=["A" * 40] * 20), "1 of 20"),
        (lambda: make(designs=["", "ACG", "ACT"]), "The median design"),
    ],
)
def test_figures_survive(run, said):
    assert said in Page(render_report(run())).text


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (lambda: make(audit=None), "No held-out reward was given"),
        (lambda: make(base=False), "No unsteered designs were drawn"),
        (lambda: make(std=False), "The median design scores 15.00"),
        (lambda: make(reference=None, audit=None, base=False), "Not audited"),
        (lambda: nothing(make(), alpha=None, kl=np.array([])), "What it cost"),
        (lambda: nothing(make(), scores={}), "24 designs were drawn; no reward was given"),
        (lambda: nothing(make(), provenance={}), "The median design"),
        (
            lambda: nothing(make(), reference=replace(REFERENCE, spectra={}, top_spectra={}, notes={})),
            "Naturalness",
        ),
        (
            lambda: nothing(make(), reference=replace(REFERENCE, expected={}, natural_facts={})),
            "Unsteered",
        ),
        (lambda: nothing(make(), reference=replace(REFERENCE, reward_quantiles={})), "no values of guide"),
        (lambda: nothing(make(), reference=replace(REFERENCE, naturalness=None)), "Naturalness"),
        (lambda: make(designs=designs_of(20, 3, low=10, high=60)), "different lengths"),
    ],
)
def test_what_is_missing_is_said(run, said, no_figures):
    assert said in Page(render_report(run())).text


def test_without_a_single_score(no_figures):
    run = make()
    failed = Scores.all(24, Status.FAILED, "broken")
    page = Page(render_report(replace(run, scores={"guide": failed, "audit": failed})))
    assert "None of the 24 designs could be scored." in page.text
    assert "24 without a score by the guide" in page.text
    assert "None of the designs was scored by guide" in page.text


def test_without_designs():
    run = make()[np.array([], dtype=np.int64)]
    assert "The run made no designs." in Page(render_report(replace(run, base=None))).text
    assert "The run made no designs." in Page(render_report(run)).text


def test_ties_with_natural_sequences_are_not_above_them(no_figures):
    run = make()
    flat = {"guide": np.zeros(101), "audit": np.append(np.zeros(100), 1.0)}
    scores = {name: Scores(np.zeros(24)) for name in flat}
    run = replace(run, scores=scores, reference=replace(REFERENCE, reward_quantiles=flat))
    html = render_report(run)
    assert "above every" not in html
    assert html.count("above 0 % of natural sequences") == 2
    assert "above every natural sequence" in render_report(
        replace(run, scores={"guide": Scores(np.ones(24))})
    )


def test_a_run_without_a_guide_is_still_audited(no_figures):
    run = make()
    scores = {"audit": run.scores["audit"]}
    base = replace(run.base, scores={"audit": run.base.scores["audit"]})
    run = replace(run, scores=scores, base=base, provenance=run.provenance | {"resolved": {"reward": None}})
    text = Page(render_report(run)).text
    assert "15.00 by a held-out score" in text
    assert "by its guide" not in text
    assert "No reward guided this run." in text


@pytest.mark.whole
@pytest.mark.parametrize("alphabet", ["ACGU", "ACDEFGHIKLMNPQRSTVWY", "abcdefghijklmnopqrstuvwxyz[]=#()"])
def test_other_alphabets(alphabet):
    designs = designs_of(24, 4, alphabet, 20, 20)
    page = Page(render_report(make(designs=designs, reference=None)))
    assert ("GC content" in page.text) == (alphabet == "ACGU")
    assert ("Where do the designs agree?" in page.text) == (len(alphabet) <= 24)
    protein = metrics.build_reference(designs_of(50, 5, alphabet, 20, 30), alphabet, word_lengths=(2, 6))
    assert (
        "Do they still read like natural"
        in Page(render_report(make(designs=designs, reference=protein))).text
    )


@pytest.mark.whole
def test_report_of_a_plate_is_small(tmp_path):
    run = make(num=64)
    path = write_report(run, tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == render_report(run)  # and the same every time
    assert path.stat().st_size < 1_000_000


def test_unwritable_path(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_report(make(num=2, base=False), tmp_path / "file" / "report.html")


# ---------------------------------------------------------------- wording


def test_overoptimisation_levels():
    rng = np.random.default_rng(0)
    low, high, noise = rng.normal(0, 1, 64), rng.normal(5, 1, 64), rng.normal(0.05, 1, 64)
    warning = check_overoptimisation((low, high), (high, low))
    assert (warning.level, warning.title) == ("warning", "Over-optimised")
    assert "rose" in warning.text and "fell" in warning.text
    assert check_overoptimisation((low, high), (low, high)).level == "calm"
    assert "100 % of the guide's rise" in check_overoptimisation((low, high), (low, high)).text
    assert "%" not in check_overoptimisation((low, high), (low, high), same_unit=False).text.replace(
        "95 % interval", ""
    )
    unsure = check_overoptimisation((low, high), (low, low + 0.05 + 0 * noise))
    assert (unsure.level, unsure.title) == ("caution", "Not confirmed")
    assert check_overoptimisation((high, low), (low, high)).title == "The guide did not rise"
    assert check_overoptimisation((low, high), None).title == "Not audited"
    assert check_overoptimisation((low[:0], high), (low[:0], high)).title == "Cannot be checked"
    assert check_overoptimisation((low, high), (low * np.nan, high)).title == "Cannot be checked"


def test_overoptimised_run_warns_on_the_page(no_figures):
    page = Page(render_report(make(guide=9.0, audit=6.0)))
    assert "Over-optimised. The guide's median rose by 4.00, the held-out median fell by 4.00" in page.text


def test_numbers_for_readers():
    shown = [number(v) for v in (13.0, 0.5, 0.0123, 0, -1.3512, 123456.0, 99.96, 999.7, None, np.nan, np.inf)]
    assert shown == ["13.0", "0.500", "0.0123", "0", "−1.35", "123,456", "100", "1,000", "–", "–", "–"]
    assert number(9.06, 1) == "9.1"
    assert [percent(v) for v in (0, 100, 99.99, 0.001, 50.04, None)] == [
        "0 %",
        "100 %",
        "99.9 %",
        "0.1 %",
        "50.0 %",
        "–",
    ]
    assert [decimals_for(np.array([0, spread])) for spread in (100.0, 25.0, 2.0, 0.2, 0.0, 1e9)] == [
        1,
        2,
        3,
        4,
        2,
        0,
    ]
    assert decimals_for(np.array([1e-9, 3e-9])) is None and number(2e-9, None) == "2.00e\u221209"


def test_logo_heights():
    # one letter in all of n = 1000: 2 bits less the correction 3 / (2 n ln 2); four equal shares: none
    heights = information(["A" + letter for letter in "ACGT" * 250], "ACGT")
    assert heights[0].tolist() == pytest.approx([2 - 3 / (2000 * np.log(2)), 0, 0, 0])
    assert heights[1].tolist() == [0, 0, 0, 0]


def test_coloured_letters_copy_as_the_design():
    design = "AACCGGTTACGTNN<&"
    text = str(coloured(design, "ACGT"))
    assert re.sub(r"<[^>]+>", "", text) == "AACCGGTTACGTNN&lt;&amp;"
    assert text.count("<span>") == 2
    assert "<i" not in coloured("MKV", "ACDEFGHIKLMNPQRSTVWY")


@pytest.mark.parametrize(
    ("naturalness", "level", "said"),
    [(-1.3, "calm", ""), (-0.9, "caution", "likelier than 99 %"), (-1.9, "caution", "less likely than 99 %")],
)
def test_designs_outside_the_natural_likelihood_are_not_called_sound(naturalness, level, said):
    calm = Verdict("calm", "No sign of over-optimisation", "Both rose.")
    natural = np.linspace(-1.5, -1.1, 101)
    verdict = check_typicality(calm, naturalness, natural)
    assert verdict.level == level and said in verdict.text and "Both rose." in verdict.text
    assert check_typicality(calm, naturalness, None) == calm
    warning = Verdict("warning", "Over-optimised", "Fell.")
    assert check_typicality(warning, naturalness, natural) == warning
