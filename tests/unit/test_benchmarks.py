"""The benchmark: the peers compute the same, and the page says what is."""

import json
import math

import pytest
import torch

from benchmarks import models, table, translation, workload
from benchmarks.__main__ import _as_dict
from benchmarks.timing import Row, compare

SMALL = {"vocabulary": 60, "size": 16}
PAIRS = {
    "d2l": lambda: models.d2l(**SMALL),
    "joeynmt": lambda: models.joeynmt(**SMALL),
    "joeynmt, no feed": lambda: models.joeynmt(**SMALL, input_feeding=False),
    "transformer": lambda: models.transformer(60),
}


@pytest.fixture(scope="module")
def batches():
    generator = torch.Generator().manual_seed(0)
    pairs = workload.pairs(24, SMALL["vocabulary"])
    return list(workload.make_batches(pairs, 8, generator, bucket=False))


@pytest.mark.parametrize("name", PAIRS)
def test_peers_compute_the_same_function(name, batches):
    """Loss and gradients agree; after updates by each, the loss too."""
    pair = PAIRS[name]()
    pair.check(batches)
    step = pair.our_step()
    for batch in batches:
        step(batch)
        pair.their_step(batch)
    with torch.no_grad():
        own = models.batch_loss(pair.ours, batches[0])
        other = pair.their_loss(batches[0])
    torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PAIRS)
def test_every_parameter_is_compared(name, batches):
    """But for the output bias that JoeyNMT does not have."""
    pair = PAIRS[name]()
    ours = {id(own) for own, _, _ in pair.matches}
    theirs = {id(peer) for _, peer, _ in pair.matches}
    assert {id(p) for p in pair.theirs.parameters()} == theirs
    learnt = [p for p in pair.ours.parameters() if p.requires_grad]
    assert {id(p) for p in learnt} == ours
    own, _, _ = pair.matches[-1]
    with torch.no_grad():
        own.view(-1)[-1] += 0.1
    with pytest.raises(AssertionError):
        pair.check(batches)


@pytest.mark.parametrize(("name", "width"), [("d2l", 1), ("joeynmt", 5)])
def test_searches_find_the_same(name, width, monkeypatch):
    """Translations end by themselves, and are as long as they should be."""
    monkeypatch.setattr(translation, "SENTENCES", 8)
    monkeypatch.setattr(
        translation, "compare", lambda *parts, **more: parts[2:4]
    )
    batches = workload.batches(3, 8, bucket=False, vocabulary=60)
    monkeypatch.setattr(workload, "batches", lambda *some, **more: batches)
    pair = PAIRS[name]()
    make = translation._d2ls if name == "d2l" else translation._joeynmts
    theirs = make(pair) if name == "d2l" else make(pair, width)
    _, ours = translation._search(pair, "search", theirs, width, 1.0)
    lengths = [
        len(tokens) / len(row[row != 0])
        for batch, found in zip(batches, ours(), strict=True)
        for tokens, row in zip(found, batch.source, strict=True)
    ]
    assert 0.8 < min(lengths) < max(lengths) < 1.3


def test_sentences_are_as_long_as_those_of_multi30k():
    for side, mean, spread in (("source", 14.0, 4.0), ("target", 15.1, 4.6)):
        lengths = torch.tensor(
            [len(getattr(pair, side)) for pair in workload.pairs(4000)]
        ).float()
        assert abs(lengths.mean() - mean) < 0.3
        assert abs(lengths.std() - spread) < 0.5


def test_the_ratio_is_theirs_by_ours(monkeypatch):
    clock = iter([0.0, 6.0, 10.0, 12.0] * 3)  # one trial, two turns
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    row = compare(
        "work", "peer", id_, id_, "all", repeats=2, mark=2.5, parts=2
    )
    assert (row.peer_ms, row.ours_ms, row.ratio) == (3000.0, 1000.0, 3.0)
    assert row.mark == 2.5


def test_short_calls_are_repeated_and_divided(monkeypatch):
    now, calls = [0.0], {"theirs": 0, "ours": 0}

    def work(who, seconds):
        calls[who] += 1
        now[0] += seconds

    monkeypatch.setattr("time.process_time", lambda: now[0])
    row = compare(
        "work",
        "peer",
        lambda: work("theirs", 0.05),
        lambda: work("ours", 0.002),
        "all",
        repeats=3,
    )
    assert calls == {"theirs": 2 + 3 * 2, "ours": 2 + 3 * 50}
    assert row.ratio == pytest.approx(25)
    assert (row.peer_ms, row.ours_ms) == pytest.approx((50, 2))


def id_():
    return None


def test_the_page_is_what_the_files_give():
    page = table.PAGE.read_text(encoding="utf-8")
    assert page == table.with_tables(page), (
        "how-it-is-tested.md is not what benchmarks/results/ gives; write it "
        "with: python -m benchmarks page"
    )


def test_every_part_of_the_page_is_measured():
    made = {path.stem for path in table.RESULTS.glob("*.json")}
    assert made == set(table.PARTS)


@pytest.mark.parametrize("name", sorted(table.PARTS))
def test_what_was_to_be_reached_is_reached(name):
    """In the committed run; a goal that is missed is to be worked on."""
    path = table.RESULTS / f"{name}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    for row in rows:
        work = f"{row['work']}, beside {row.get('peer')}"
        assert row.get("ratio", 0) >= row.get("mark", 0), work
        if "mark_memory" in row:
            part = row["ours_mb"] / row["peer_mb"]
            assert part <= row["mark_memory"], work
        assert row.get("mb", 0) <= row.get("mark_mb", math.inf), work
    marks = sum("mark" in row for row in rows)
    assert marks == {"attention": 5, "translation": 7}.get(name, 0)


def test_a_missed_mark_is_said(tmp_path, monkeypatch):
    """Each change of the file changes the page as it should."""
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    about = {"command": "c", "machine": "m", "versions": {"torch": "2"}}

    def page(name, *rows):
        text = json.dumps(about | {"rows": rows})
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
        return table.render()

    row = Row("work", "peer", 30.0, 10.0, 3.0, "all", 2.5)
    found = page("attention", _as_dict(row, 100.0, 10.0))
    assert "| 30 | 10 | 3 | 100 | 10 | 2.5: met; 0.1 of the memory: met |" in (
        found
    )
    found = page("attention", _as_dict(row, 100.0, 10.1))
    assert "2.5: met; 0.1 of the memory: **not met**" in found
    slow = Row("work", "peer", 20.0, 10.0, 2.0, "all", 2.5)
    assert "2.5: **not met**" in page("attention", _as_dict(slow))
    free = Row("work", "peer", 1234.0, 10.0, 123.4, "all")
    assert "| 1,230 | 10 | 123 |" in page("attention", _as_dict(free))
    limit = {"work": "memory", "mb": 2000, "mark_mb": 2048}
    assert "| memory | 2000 | 2048: met |" in page("memory", limit)
    found = page("memory", limit | {"mb": 2049})
    assert "| 2049 | 2048: **not met** |" in found


def test_a_page_without_its_two_lines_is_refused():
    with pytest.raises(ValueError, match="needs these two lines"):
        table.with_tables("# No tables\n")
