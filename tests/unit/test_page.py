"""What chapters show of numbers: glued text, tables, the score table."""

import pytest

from s2s_lib import page
from s2s_lib.corpora import LENGTH_BUCKETS

RUN = {
    "parameters": 1234,
    "recipe": {"training": {"steps": 500}},
    "training_seconds": 60.4,
    "metrics": {
        "bleu": 20.0,
        "bleu_by_length": [80.0, 40.0, None, 10.0, 0.0],
        "alignment": {"error_rate": 0.25},
    },
}
OLD = RUN | {
    "training_seconds": 70.0,
    "metrics": {"bleu": 23.0, "bleu_by_length": [90.0, 40.0, None, 11.0, 1.0]},
}


@pytest.fixture
def results(monkeypatch):
    runs = {"one": [RUN], "two": [RUN, OLD], "old": [OLD]}
    monkeypatch.setattr(page, "load_results", runs.__getitem__)


def test_the_score_table_by_hand(results):
    head, *rows = page.score_rows({"one": "first", "two": "both"})
    assert len(head) == len(rows[0]) == 7 + len(LENGTH_BUCKETS)
    assert head[-1] == "41–60"
    assert rows[0] == [
        *("first", "1", "1,234", "500", "60", "20.0", "0.250"),
        *("80.0", "40.0", "–", "10.0", "0.0"),
    ]
    assert rows[1] == [
        *("both", "2", "1,234", "500", "65", "21.5 (20.0–23.0)", "0.250"),
        *("85.0", "40.0", "–", "10.5", "0.5"),
    ]
    (_, row) = page.score_rows(["old"])
    assert row[0] == "old" and row[6] == "–"


def test_a_table_is_text_and_html(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, raw: shown.append(data)
    )
    page.table([["a", "b<"], ["1", "</td>"]])
    assert shown[0]["text/plain"] == "a  b<\n1  </td>"
    html = shown[0]["text/html"]
    assert '<th scope="col">b&lt;</th>' in html
    assert '<th scope="row">1</th><td>&lt;/td&gt;</td>' in html


@pytest.mark.parametrize("rows", [[], [["a"], ["b", "c"]]])
def test_a_crooked_table_is_refused(rows):
    with pytest.raises(ValueError, match="rows of one length"):
        page.table(rows)
