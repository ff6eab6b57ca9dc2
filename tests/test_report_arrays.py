"""Pages of images and of numbers: one file, true, without a word that belongs to sequences."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image as Picture

from gendesign.design_set import DesignSet
from gendesign.forms import Form, Image, Vector, VectorSequence
from gendesign.report import render_report
from gendesign.report.pictures import LARGEST, reduced
from gendesign.report.vectors import path
from gendesign.rewards.base import Scores, Status
from gendesign.steering.particles import Cost

SEQUENCE_WORDS = r"sequence|letter|\bbase\b|\bbases\b|motif|k-mer|GC content|copied|logo"
VOID = {"meta", "br", "img", "polyline"}


class Page(HTMLParser):
    """Text, what a browser would load, and whether tags nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.loads, self.pictures, self.stack, self.ids = "", [], [], [], []
        self.feed(html)
        self.close()
        assert not self.stack, f"never closed: {self.stack}"
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.loads += [given[key] for key in ("src", "href", "data", "srcset", "action") if key in given]
        if tag == "img":
            assert given["alt"]
            self.pictures.append(given["src"])
        if "id" in given:
            self.ids.append(given["id"])
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
            self.text += f" {data} "


SHAPES: dict[str, tuple[tuple[int, ...], Form]] = {
    "grey": ((8, 6), Image(1)),
    "colour": ((5, 4, 3), Image(3)),
    "plane": ((2,), Vector(("mass", "<b>"), (2.0, 1.0))),
    "table": ((15,), Vector(tuple(f"c{i}" for i in range(15)))),
    "steps": ((7, 2), VectorSequence(("x", "v"))),
}


def make(name: str, num: int = 20, *, base: bool = True, heldout: bool = True, seed: int = 1) -> DesignSet:
    shape, form = SHAPES[name]
    rng = np.random.default_rng(seed)
    designs = list(rng.random((num, *shape)))
    spread = np.linspace(-1, 1, num)
    scores = {"guide": Scores((9.0 if base else 5.0) + spread)}
    if heldout:
        scores["audit"] = Scores((15.0 if base else 10.0) + spread)
    return DesignSet(
        designs=designs,
        scores=scores,
        naturalness=-1.3 + 0.01 * spread,
        novelty={"nearest_distance": np.full(num, 0.4321)},
        kl=np.full(num, 16.0),
        alpha=0.125,
        cost=Cost(20_000, 10_000, 3, 12.5),
        estimate=Cost(40_000, 40_000, 0, 0.0),
        provenance={
            "backbone": "toy-arrays",
            "steering": "SVDD",
            "seed": 17,
            "rewards": {role: {"unit": "kB", "source": "made up", "trained_on": ""} for role in scores},
        },
        base=make(name, 12, base=False, heldout=heldout, seed=2) if base else None,
        form=form,
        nearest=list(rng.random((num, *shape))),
    )


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take most of the time; tests of the text leave them out."""
    for name in ("figures.reward_panel", "figures.scatter_panel", "vector_figures.histogram_panel"):
        monkeypatch.setattr(f"gendesign.report.{name}", lambda *args, **options: "<svg></svg>")
    monkeypatch.setattr("gendesign.report.vector_figures.path_panel", lambda *args, **options: "<svg></svg>")


@pytest.mark.whole
@pytest.mark.parametrize("name", SHAPES)
def test_page_is_one_file_in_the_words_of_its_designs(name: str) -> None:
    html = render_report(make(name))
    page = Page(html)
    assert len(page.ids) == len(set(page.ids)) > 20
    assert all(load.startswith(("#", "data:image/png;base64,")) for load in page.loads)
    without = re.sub(r"data:image/\w+;base64,[\w+/=]+", "", html)
    assert not re.search(r"https?:|@import|file:|//[a-z]|<script", without)
    assert not re.search(SEQUENCE_WORDS, page.text, flags=re.IGNORECASE)
    if name in ("grey", "steps"):
        assert html == render_report(make(name))  # the same every time
    for said in (
        "The median design scores 15.00",
        "No sign of over-optimisation",
        "0.432",
        "Euclidean",
        "16.0 nats",
        "estimated by its flow",
        "12.5",
    ):
        assert said in page.text, said
    assert f"nats a {SHAPES[name][1].part}" in page.text


@pytest.mark.parametrize("name", ["grey", "colour"])
def test_pictures_are_the_designs(name: str) -> None:
    run = make(name)
    pictures = [
        np.asarray(Picture.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))) / 255
        for source in Page(render_report(run)).pictures
    ]
    assert run.base is not None and run.nearest is not None
    # two contact sheets, then a card a design with the training image nearest to it
    assert len(pictures) == 12 + 20 + 2 * 20
    order = np.argsort(-run.values, kind="stable")
    expected = run.base.ranked().designs + run.ranked().designs
    expected += [image for i in order for image in (run.designs[i], run.nearest[i])]
    for seen, image in zip(pictures, expected, strict=True):
        assert np.abs(seen - image).max() <= 1 / 510 + 1e-9


def test_contact_sheets_show_the_whole_range_of_many_and_large_pictures(no_figures) -> None:
    run = make("grey", num=150)
    run = replace(run, base=None)
    html = render_report(run)
    assert "64 of 150" in html and "image-rendering: pixelated" in html
    photos = [np.random.default_rng(i).random((256, 128, 3)) for i in range(20)]
    html = render_report(replace(run[np.arange(20)], designs=photos, nearest=photos, form=Image(3)))
    assert "16 of 20" in html and "data:image/jpeg" in html and len(html) < 5_000_000
    large = np.random.default_rng(0).random((600, 300, 3))
    assert max(reduced(large).shape) <= LARGEST
    np.testing.assert_allclose(reduced(large)[0, 0], large[:4, :4].mean((0, 1)))
    assert reduced(large[:40, :40]) is not None and reduced(large[:40, :40]).shape == (40, 40, 3)


@pytest.mark.parametrize("name", SHAPES)
def test_without_training_data_only_the_distance_is_missing(name: str, no_figures) -> None:
    page = Page(render_report(replace(make(name), nearest=None, novelty={})))
    assert "are not on this machine" in page.text and "From nearest" not in page.text
    assert "reference file" not in page.text


@pytest.mark.parametrize("name", SHAPES)
def test_pages_survive_what_is_missing(name: str, no_figures) -> None:
    alone = replace(make(name, heldout=False), base=None)
    assert "Not audited" in render_report(alone)
    assert "The run made no designs" in render_report(alone[np.array([], dtype=np.int64)])
    assert "The one design" in render_report(alone[np.array([0])])
    blind = replace(alone, naturalness=np.full(20, np.nan))
    assert "Natural&shy;ness" not in render_report(blind) and "naturalness</dt>" not in render_report(blind)
    assert "20 designs were drawn; no reward was given" in render_report(replace(alone, scores={}))
    failed = Scores.all(20, Status.TIMED_OUT, "no answer <within> 3 s")
    text = Page(render_report(replace(alone, scores={"guide": failed}))).text
    assert text.count("no answer <within> 3 s") == 20 and "20 without a score" in text


@pytest.mark.parametrize("name", ["grey", "plane", "steps"])
def test_designs_that_are_no_numbers_do_not_break_the_page(name: str) -> None:
    run = make(name)
    broken = [np.full_like(run.designs[0], np.nan), *run.designs[1:]]
    values = Scores(np.append(np.nan, run.values[1:]))
    assert (
        "1 without a score"
        in Page(render_report(replace(run, designs=broken, scores={"guide": values}))).text
    )
    nothing = [np.full_like(design, np.nan) for design in run.designs]
    assert "20 without a score" in Page(
        render_report(replace(run, designs=nothing, scores={"guide": Scores(np.full(20, np.nan))}))
    ).text  # fmt: skip


@pytest.mark.whole
def test_columns_of_vectors_are_drawn_and_listed() -> None:
    plane = render_report(make("plane"))
    assert "Euclidean distance in standard deviations of the columns, mean" in plane
    distance = np.mean([np.hypot((a[0] - b[0]) / 2, a[1] - b[1]) for a in make("plane").designs
                        for b in make("plane").designs if a is not b and not np.array_equal(a, b)])  # fmt: skip
    assert f"any two are {distance:.3f} apart" in plane
    assert plane.count("<svg") == 2 + 2 + 1 + 2  # two rewards, two scatters, the plane, a panel a column
    assert "&lt;b&gt;" in plane and "<span>&lt;b&gt; <b>" in plane
    table = render_report(make("table", num=5, base=False, heldout=False))
    assert "The first 12 of 15 columns are shown." in table and "c11" in table and ">c12" not in table


def test_sequences_of_vectors_are_drawn_along_their_steps() -> None:
    html = render_report(make("steps"))
    assert "medians at each step" in html
    assert html.count('class="path"') == 2 * 20
    line = str(path(np.array([0.0, 1.0, 0.5]), width=102, height=12))
    assert 'points="1.0,11.0 51.0,1.0 101.0,6.0"' in line and "0 to 1.00" in line
    assert "60.0,27.0" in str(path(np.zeros(3)))  # no division by a spread of zero


def test_naturalness_is_compared_with_unsteered_designs() -> None:
    run = make("grey")
    assert "90 % of unsteered" in render_report(run)
    odd = replace(run, naturalness=run.naturalness - 1)
    text = Page(render_report(odd)).text
    assert "less likely than 99 % of unsteered images" in text


def test_scores_without_a_unit_share_no_axis() -> None:
    run = replace(make("grey"), provenance={})
    assert "On the dashed line both agree" not in render_report(run)
    assert "On the dashed line both agree" in render_report(make("grey"))
