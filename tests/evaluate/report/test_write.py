"""The report, read back with a parser that knows nothing of how it was written."""

import json
from html.parser import HTMLParser
from importlib.util import find_spec

import pytest

from polyroute.evaluate.curve import curves
from polyroute.evaluate.harness import evaluate
from polyroute.evaluate.report import write_report
from polyroute.evaluate.summarise import Precision, summarise
from polyroute.outcomes import OutcomeTable
from polyroute.outcomes.implied import pool_of
from polyroute.policies.fixed import Fixed
from polyroute.policies.random import Random

EVIL = "<script>alert(1)</script>\"' & </pre><img src=x onerror=y> | **bold** \ud800"
VOID = {"meta"}


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text.append(text)


@pytest.fixture(scope="module")
def summary():
    table = OutcomeTable.of(
        [{"query_id": f"q{n}{EVIL}", "prompt": f"{n} {EVIL}", "task": EVIL} for n in range(9)],
        [
            {
                "query_id": f"q{n}{EVIL}", "model": m, "score": n % k == 0, "cost_usd": cost * n,
                "response_text": EVIL, "prompt_tokens": 10 * n, "completion_tokens": 0,
            }
            for n in range(9)
            for m, k, cost in ((f"a{EVIL}", 2, 0.001), ("b", 3, 0.1))
        ],
    )  # fmt: skip
    policies = {f"first {EVIL}": Fixed(f"a{EVIL}"), "drawn": Random()}
    found = curves(policies, table, [0, 1])
    return summarise(
        evaluate(policies, table), table, pool_of(table), curves=found,
        precision=Precision(resamples=100),
    )  # fmt: skip


@pytest.fixture(scope="module")
def files(summary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return {path.name: path for path in write_report(summary, folder, pictures=False)}


def test_the_page_is_well_formed_and_holds_nothing_that_a_table_smuggled_in(files):
    page = Reader(files["report.html"].read_text("utf-8"))
    assert page.open == []
    assert not {"script", "img", "iframe", "object", "link"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert any("<script>alert(1)</script>" in text for text in page.text)  # shown as text


def test_the_page_fetches_nothing(files):
    page = Reader(files["report.html"].read_text("utf-8"))
    assert not [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    style = files["report.html"].read_text("utf-8").partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_the_page_fits_a_phone_and_the_dark(files):
    text = files["report.html"].read_text("utf-8")
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    page = Reader(text)
    tables = page.tags.count("table") + page.tags.count("svg")
    assert tables == sum(1 for pair in page.attributes if pair == ("class", "wide"))


def test_every_router_is_in_the_tables_plots_and_traces(files):
    text = "".join(Reader(files["report.html"].read_text("utf-8")).text)
    for name in ("drawn", "first <script>", "oracle", "best constant", "Who won where"):
        assert name in text
    assert "NaN" not in text
    assert "nan" not in text.replace("finance", "")


def test_markup_in_a_name_is_text_in_markdown_and_rows_stay_rows(files):
    text = files["report.md"].read_text("utf-8")
    assert "<script>" not in text.replace("\\<script\\>", "")
    widths = {
        line.replace("\\|", "").count("|") for line in text.splitlines() if " | router | " in line
    }
    assert len(widths) == 1


def test_the_json_is_json_without_nan(files):
    def refuse(constant):
        raise AssertionError(constant)

    found = json.loads(files["report.json"].read_text("utf-8"), parse_constant=refuse)
    assert found["questions"] == 9
    assert {row["kind"] for row in found["rows"]} == {"router", "baseline", "bound", "model"}


@pytest.mark.slow
def test_there_is_a_picture_where_matplotlib_is_installed(summary, tmp_path):
    written = {path.name: path for path in write_report(summary, tmp_path)}
    assert ("cost_quality.png" in written) == (find_spec("matplotlib") is not None)
    if "cost_quality.png" in written:
        assert written["cost_quality.png"].read_bytes().startswith(b"\x89PNG")
