import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from inspection.report.facts import NotMeasured
from inspection.report.page import encode_picture, percent, promise, render_page

pytestmark = pytest.mark.fast

SECTIONS = (
    "verdict", "promise", "scores", "curves", "recall", "confusion", "cases", "parity", "edge",
    "robustness", "origin",
)  # fmt: skip
TAG = "generated defects</span>"
VOID = {"meta", "img", "br", "path", "use", "rect", "image"}


class Outline(HTMLParser):
    """Reads ids, pictures and unbalanced elements of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.sources, self.references, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Note ids, pictures and references."""
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.sources += [values["src"]] if "src" in values else []
        self.references += [values["href"]] if "href" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        """Note an element that closes itself."""
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        """Close the innermost element, which must be this one."""
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def facts(make_facts):
    """Facts of a passed bundle."""
    return make_facts()


@pytest.fixture(scope="module")
def page(facts):
    """The page of a passed bundle."""
    return render_page(facts)


@pytest.fixture(scope="module")
def generated_page(make_facts):
    """The page of a bundle measured on generated defects."""
    return render_page(make_facts(evidence="generated defects"))


def section(page, name):
    """The text of one section, without tags."""
    found = re.search(rf'<(section|div) id="{name}".*?(?=<section id=|<footer)', page, re.DOTALL)
    return re.sub(r"<[^>]+>", " ", found.group(0)).replace("\u00a0", " ")


def test_every_section_is_there_in_order(page):
    """The page has each section once, and all elements are closed."""
    outline = Outline(page)
    assert [each for each in outline.ids if each in SECTIONS] == list(SECTIONS)
    assert outline.open == []


def test_nothing_points_outside(page, generated_page):
    """The page needs no network: no address, pictures within, references to its own ids only."""
    for text in (page, generated_page):
        outline = Outline(text)
        assert "http" not in text
        assert "//" not in re.sub(r"base64,[^\"]*", "", text)
        assert all(source.startswith("data:image/jpeg;base64,") for source in outline.sources)
        references = [*outline.references, *re.findall(r"url\((#[^)]+)\)", text)]
        assert {reference.removeprefix("#") for reference in references} <= set(outline.ids)
        assert not re.search(r"<(script|link|iframe)", text)


def test_ids_are_unique(page):
    """Charts drawn apart do not share ids, or one would be drawn with another's clip path."""
    ids = Outline(page).ids
    assert len(set(ids)) == len(ids)


def test_the_same_facts_give_the_same_page(facts, page):
    """Rendering is a pure function of the facts."""
    assert render_page(facts) == page


def test_numbers_are_those_of_the_gate(facts, page):
    """Every number of the parity table stands in the gate's record."""
    gate, text = facts.gate, section(page, "parity")
    for number in (gate.auroc, gate.reference_auroc, gate.auroc_drop, gate.aupro, gate.pixel_auroc):
        assert str(number) in text
    for number in ("0.99812", "0.99456", "0.99123", "0.98765", "7 of 340"):
        assert number in text
    assert "2.81 / 3.12 / 3.97 ms" in text
    assert "6.04 / 6.42 / 7.77 ms" in text


def test_recall_of_every_defect_is_told_with_parts(facts, page):
    """Each defect type stands with its number of parts, recall and interval."""
    text = section(page, "recall")
    for kind, interval in facts.gate.recall_by_defect.items():
        low, high = f"{100 * interval.low:.3g}", f"{100 * interval.high:.3g}"
        row = rf"{kind}\s+30\s+{100 * interval.value:.3g} % \[{low}, {high}\]"
        assert re.search(row, text)


def test_confusion_counts_the_rows_of_the_gate(facts, page):
    """Parts and ppm of each verdict are counted from the gate's rows."""
    text = section(page, "confusion")
    for label, total in (("good", 190), ("defect", 150)):
        for verdict in ("PASS", "REVIEW", "REJECT", "FAULT"):
            rows = facts.gate.rows
            parts = sum(row.label == label and row.verdict == verdict for row in rows)
            assert re.search(rf"\b{parts}\s+{1e6 * parts / total:,.0f} ppm", text)


def test_promise_is_the_certificate_in_words(facts, page):
    """The certificate is said with its number of normals, mean, bound, target and rank."""
    words = promise(facts.card).replace("\u00a0", " ")
    assert words in section(page, "promise")
    assert words == (
        "Of future good parts like the 190 held-out ones, 1.57 % are expected to be reviewed or "
        "rejected (1 in 64); asked for was 2 %. With 95 % confidence it is at most 3.28 %. The "
        "review threshold is the score of rank 188 among them."
    )


def test_band_and_weights_are_told(facts, page):
    """The thresholds and the weights that judged stand on the page."""
    text = section(page, "promise")
    assert f"PASS up to {facts.card.band.review_above:.6g}" in text
    assert f"REVIEW up to {facts.card.band.reject_above:.6g}" in text
    assert "mobilenetv2_100 (file, c3c3c3c3c3c3)" in text
    assert "RANDOM" not in page


def test_random_weights_are_loud(make_facts):
    """Random weights are said at the top, before any number."""
    page = render_page(make_facts(source="random"))
    assert page.index("RANDOM WEIGHTS judged here") < page.index('<div class="tiles">')


def test_passed_bundle_says_so(page):
    """A bundle that passed shows it first, in green."""
    assert '<div class="banner passed"><strong>Passed its gate' in page
    assert "banner refused" not in page[page.index("<body>") :]


def test_refused_bundle_shows_why_in_red_at_the_top(make_facts):
    """Each refusal stands in the red banner before everything else."""
    page = render_page(make_facts(refusals=("AUROC 0.61 lies <under> 0.7", "flips 40 of 340")))
    body = page[page.index("<body>") :]
    banner = body[body.index('class="banner refused"') : body.index('<div class="tiles">')]
    assert "<li>AUROC 0.61 lies &lt;under&gt; 0.7</li><li>flips 40 of 340</li>" in banner
    assert "Passed its gate" not in body


def test_ungated_bundle_promises_only_false_rejects(make_facts):
    """A bundle without a gate shows calibration only and says that it was never gated."""
    page = render_page(make_facts(gated=False, cases=NotMeasured("never gated")))
    assert "Never put to a gate" in page
    assert "No recall is promised:</b> no defect was tested." in page
    assert [each for each in Outline(page).ids if each in SECTIONS] == [
        "verdict", "promise", "scores", "cases", "edge", "robustness", "origin",
    ]  # fmt: skip


def test_generated_evidence_promises_no_recall(generated_page):
    """On generated defects the page promises no recall and never speaks of recall as measured."""
    assert "No recall is promised:</b> no real defect was tested." in generated_page
    assert "Recall is measured" not in generated_page
    assert ">Recall" not in generated_page


def test_generated_evidence_is_said_at_every_number(generated_page, facts):
    """Each cell, tile and sentence with a number about defects says generated defects."""
    numbers = [str(each) for each in (facts.gate.auroc, facts.gate.auroc_drop, facts.gate.aupro)]
    numbers += [str(facts.gate.pixel_auroc), str(facts.gate.reference_auroc)]
    for number in numbers:
        for found in re.finditer(re.escape(number), generated_page):
            assert generated_page[found.end() :].startswith(' <span class="tag">' + TAG)
    for name, tags in (("recall", 6), ("confusion", 4 + 6), ("robustness", 1 + 6), ("parity", 5)):
        start = generated_page.index(f'<section id="{name}"')
        text = generated_page[start : generated_page.index("</section>", start)]
        assert text.count(TAG) == tags
    tiles = generated_page[generated_page.index('<div class="tiles">') :]
    assert tiles[: tiles.index("<section")].count(TAG) == 2


def test_charts_name_generated_defects(generated_page, page):
    """Axes and titles of the charts speak of generated defects when those were tested."""
    for text, expected in ((generated_page, "generated defects"), (page, "defects")):
        assert f"judged at the gate, {expected}: 150" in text
        assert f"{expected} above the threshold, %" in text
    assert TAG not in page


def test_real_defects_carry_no_tag(page):
    """Numbers on real defects are not called generated."""
    assert "generated" not in page[page.index("<body>") :]


def test_edge_card_is_told(page):
    """Latency, throughput, RAM, size, CPU stand there; unknown energy is said to be unknown."""
    text = section(page, "edge")
    for words in ("2.93 ms", "3.33 ms", "4.44 ms", "337 parts/s", "183 MiB", "5.0 MiB"):
        assert words in text
    assert "5.1 ms of processor time per part, 1.74 cores busy" in text
    assert "not told by this machine" in text


def test_energy_is_told_where_the_machine_tells(facts, make_facts):
    """A measured energy stands in millijoules per part."""
    edge = facts.edge.model_copy(update={"energy_mj_per_part": 41.26})
    text = section(render_page(make_facts(edge=edge)), "edge")
    assert "41.3 mJ, the whole processor package" in text


def test_worse_rows_are_marked(page):
    """A disturbance that spoils a number is marked at that number; others are not."""
    start = page.index('<section id="robustness"')
    rows = page[start : page.index("</section>", start)].split("<tr>")[2:]
    assert [row.count('class="bad"') for row in rows] == [0, 0, 3]


def test_missing_sections_say_why(make_facts):
    """A section without measurement gives its reason instead of an empty table."""
    gone = NotMeasured("no manifest was named")
    page = render_page(make_facts(cases=gone, edge=gone, robustness=gone))
    for name in ("cases", "edge", "robustness"):
        assert "Not measured: no manifest was named" in section(page, name)


def test_names_of_files_are_escaped(facts, make_facts):
    """A file name with markup is shown, not obeyed."""
    rows = tuple(
        row.model_copy(update={"defect": row.defect and "<b>dent</b>"}) for row in facts.gate.rows
    )
    by_defect = {"<b>dent</b>": facts.gate.recall}
    gate = facts.gate.model_copy(update={"rows": rows, "recall_by_defect": by_defect})
    page = render_page(make_facts(gate=gate))
    assert "<b>dent</b>" not in page
    assert "&lt;b&gt;dent&lt;/b&gt;" in page


@pytest.mark.parametrize(
    ("share", "words"), [(0.0, "0 %"), (0.0157, "1.57 %"), (1.0, "100 %"), (0.00012, "0.012 %")]
)
def test_percent_keeps_three_digits(share, words):
    """Shares are said in percent with three significant digits and a space that never breaks."""
    assert percent(share) == words.replace(" ", "\u00a0")


def test_pictures_keep_their_channels():
    """A red picture is red on the page."""
    red = np.zeros((24, 40, 3), np.uint8)
    red[:, :, 0] = 200
    coded = base64.b64decode(encode_picture(red).removeprefix("data:image/jpeg;base64,"))
    decoded = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (24, 40, 3)
    assert decoded[12, 20].tolist() == pytest.approx([0, 0, 200], abs=6)
