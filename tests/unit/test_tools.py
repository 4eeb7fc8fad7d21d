"""The small programs: choosing a Python, serving, cleaning, executing."""

import importlib.resources
import json
import os
import stat
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from urllib.request import urlopen

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from s2s_lib import corpora, evaluation, recipes
from s2s_lib.pairs import turned, untranslated
from tools import (
    data_quality,
    every_seed,
    files,
    notebooks,
    pictures,
    rates,
    repetitions,
    update_costs,
)
from tools.serve import server
from tools.setup_cell import setup_cell
from tools.site import clean

ROOT = Path(__file__).resolve().parents[2]
FIND = ROOT / "tools" / "find_python.sh"


def fake_python(folder: Path, name: str, body: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def find(*candidates: str):
    return subprocess.run(
        ["sh", str(FIND), *candidates], capture_output=True, text=True
    )


def test_a_python_that_does_not_run_is_passed_over(tmp_path):
    broken = fake_python(tmp_path, "broken", "exit 127")
    good = fake_python(tmp_path, "good", "exit 0")
    assert find("no-such-python", broken, good).stdout == f"{good}\n"


def test_a_wrong_version_is_told_in_one_line(tmp_path):
    old = fake_python(
        tmp_path,
        "old",
        'case "$2" in *sys.exit*) exit 3;; *) echo 3.9.1;; esac',
    )
    done = find(old)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "3.9.1" in done.stderr
    assert "3.11, 3.12 or 3.13" in done.stderr


def test_a_missing_venv_module_is_told_in_one_line(tmp_path):
    bare = fake_python(
        tmp_path, "bare", 'case "$2" in *ensurepip*) exit 1;; esac'
    )
    done = find(bare)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "python3-venv" in done.stderr


def test_two_servers_find_two_ports(tmp_path):
    (tmp_path / "index.html").write_text("book")
    with server(tmp_path) as one, server(tmp_path) as two:
        assert one.server_port != two.server_port


def test_the_server_serves(tmp_path):
    import threading

    (tmp_path / "index.html").write_text("book")
    with server(tmp_path) as http:
        thread = threading.Thread(target=http.handle_request, daemon=True)
        thread.start()
        with urlopen(f"http://127.0.0.1:{http.server_port}/") as page:
            assert page.read() == b"book"
        thread.join()


def test_scripts_from_other_hosts_are_taken_out():
    local = '<script src="_static/book.js"></script>'
    page = (
        '<script src="https://example.org/a.js"></script>\n'
        "<script>const THEBE_JS_URL = 'x'</script>\n"
        '<script async="async" src="_static/sphinx-thebe.js?v=1"></script>'
        f"<script>let a = 1;</script>{local}"
    )
    assert clean(page) == f"<script>let a = 1;</script>{local}"


def test_results_are_found_as_package_data():
    folder = importlib.resources.files("s2s_lib.results")
    found = {item.name for item in folder.iterdir()}
    stored = {path.name for path in (ROOT / "results").glob("*.json")}
    assert stored <= found


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """Give a function that writes a chapter whose second cell is given."""
    monkeypatch.setattr(notebooks, "CHAPTERS", tmp_path)

    def make(source: str) -> Path:
        cells = [
            new_markdown_cell("# Title"),
            new_code_cell(setup_cell()),
            new_code_cell(source),
        ]
        path = tmp_path / "01_a.ipynb"
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return make


@pytest.mark.slow
def test_a_good_chapter_is_executed_and_stays_the_same(chapter, capsys):
    path = chapter("import os\nprint(os.path.basename(os.getcwd())[:6])")
    assert notebooks.main([]) == 0
    assert "executed" in capsys.readouterr().out
    first = path.read_bytes()
    nb = nbformat.read(path, as_version=4)
    assert nb.cells[2].outputs[0].text == path.parent.name[:6] + "\n"
    assert notebooks.main(["01"]) == 0
    assert path.read_bytes() == first


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("print(1)\n1 / 0", "ZeroDivisionError"),
        ('print("≈ 1.5")', "without an assert"),
    ],
)
def test_a_bad_chapter_is_not_written(chapter, capsys, source, told):
    path = chapter(source)
    before = path.read_bytes()
    assert notebooks.main([]) == 1
    assert told in capsys.readouterr().out
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_an_unknown_chapter_is_told(chapter, capsys):
    chapter("x = 1")
    assert notebooks.main(["99"]) == 1
    assert "no chapter starts with '99'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "data", "fault"),
    [
        ("a.py", b"x = 1", "exactly one line end"),
        ("a.py", b"x = 1\n\n", "exactly one line end"),
        ("a.py", b"x = 1 \n", "ends in blanks"),
        ("a.py", b"x = 1\r\n", "Windows"),
        ("a.md", b"<<<<<<< HEAD\n", "merge"),
        ("a.json", b"{\n", "cannot be read"),
        ("a.toml", b"a = \n", "cannot be read"),
        ("a.yml", b"a: [\n", "cannot be read"),
        ("a.md", b"https://py" + b"pi.org/simple\n", "registry"),
        ("a.png", b"\xff" * 1_000_001, "bytes"),
    ],
)
def test_a_fault_of_a_file_is_found(tmp_path, name, data, fault):
    path = tmp_path / name
    path.write_bytes(data)
    assert any(fault in found for found in files.faults(path))


@pytest.mark.parametrize("data", [b"", b"text\n", b"\xff\xfe\x00"])
def test_a_good_file_has_no_fault(tmp_path, data):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    assert files.faults(path) == []


def test_costs_of_updates_are_measured_beside_each_other():
    names = ("sorting-plain", "sorting-attention")
    threads = torch.get_num_threads()
    found = update_costs.measure(names, turns=1)
    assert torch.get_num_threads() == threads
    assert [*found["recipes"]] == [*names]
    for cost in found["recipes"].values():
        assert 1 < cost["ms"] < 10_000 and 0.1 < cost["mb"] < 1000
    stored = json.loads((ROOT / "results/update-costs.json").read_text())
    assert stored["command"] == found["command"]
    assert [*stored["recipes"]] == [*update_costs.NAMES]


def test_trials_of_rates_are_kept_by_recipe_and_rate(monkeypatch):
    trained = []

    class Trained:
        def __init__(self, rate):
            self.history = [
                {"valid_bleu": 0.0, "valid_loss": 9.0},
                {"valid_bleu": 1e3 * rate, "valid_loss": 1.0, "seconds": 5},
            ]

    def train(recipe, seed, progress):
        assert seed == 0
        if isinstance(recipe, str):
            trained.append(recipe)
            recipe = recipes.RECIPES[recipe]
        return Trained(recipe.training.learning_rate)

    monkeypatch.setattr(recipes, "train", train)
    found = rates.measure(("plain", "plain-rnn"), (4e-3, 8e-3))
    own = recipes.RECIPES["plain"].training.learning_rate
    assert own == 8e-3 and trained[0] == "plain"  # the one in the cache
    assert found["trials"]["plain-rnn"] == {
        "0.004": {"valid_bleu": 4, "valid_loss": 1},
        "0.008": {"valid_bleu": 8, "valid_loss": 1},
    }
    assert "learning_rate" not in found["recipes"]["plain"]["training"]


def test_recipes_have_the_rate_of_the_best_trial():
    stored = json.loads((ROOT / "results/rates.json").read_text())
    assert [*stored["trials"]] == [*stored["recipes"]] == [*rates.NAMES]
    for name, trials in stored["trials"].items():
        kept = asdict(recipes.RECIPES[name])
        own = kept["training"].pop("learning_rate")
        # A setting that was not there yet has its default.
        assert asdict(recipes.Recipe()) | stored["recipes"][name] == kept
        assert [*map(float, trials)] == [*rates.RATES]
        best = max(trials, key=lambda rate: trials[rate]["valid_bleu"])
        assert float(best) == own, f"{name}: {best} did better than {own}"
    alike = recipes.RECIPES["one-way-once"], recipes.RECIPES["one-way"]
    turned_one = recipes.RECIPES["one-way-once-reversed"]
    assert turned_one == replace(alike[0], reverse_source=True)


def test_repeating_translations_are_counted_by_length(monkeypatch):
    """A model that writes long references twice, and of short ones half."""

    class Repeats:
        def translate(self, sentences):
            pairs = recipes.corpus_of(recipes.RECIPES["additive"]).test
            assert [*sentences] == [pair.source for pair in pairs]
            return [
                pair.target * 2
                if len(pair.source) > 40
                else pair.target[: len(pair.target) // 2]
                for pair in pairs
            ]

    monkeypatch.setattr(recipes, "train", lambda name, seed: Repeats())
    found = repetitions.measure(("additive",), 2)
    rows = found["recipes"]["additive"]
    assert [row["share"] for row in rows] == 2 * [[0, 0, 0, 0, 1]]
    assert all(0.5 <= share < 0.6 for share in rows[0]["lacking"][:4])
    assert rows[0]["lacking"][4] == 0
    assert [row["seed"] for row in rows] == [0, 1]
    assert 0 < rows[0]["bleu"] < 100
    stored = json.loads((ROOT / "results/repetitions.json").read_text())
    assert stored["command"] == found["command"]
    assert stored["lengths"] == [[*pair] for pair in corpora.LENGTH_BUCKETS]
    for name in repetitions.NAMES:
        runs = recipes.load_results(name)
        kept = [row["bleu"] for row in stored["recipes"][name]]
        assert kept == [run["metrics"]["bleu"] for run in runs]


CHAPTER = [
    ["SEED = 0\nkept = {'model': {}}", ["every-seed"]],
    ["kept['model']['seed'] = 1 / 0", []],
    ["kept['model']['seed'] = SEED\nprint(SEED)", ["every-seed", "other"]],
]


def write_chapter(path, cells):
    nb = new_notebook(cells=[new_code_cell(text) for text, _ in cells])
    for cell, (_, tags) in zip(nb.cells, cells, strict=True):
        cell.metadata["tags"] = tags
    nbformat.write(nb, path)
    return path


def test_marked_cells_are_run_for_every_seed(tmp_path, capsys):
    path = write_chapter(tmp_path / "07_a.ipynb", CHAPTER)
    found = every_seed.measure(path, 3)
    assert found["command"] == "python -m tools.every_seed 07"
    assert found["seeds"] == [{"model": {"seed": seed}} for seed in range(3)]
    assert capsys.readouterr().out == ""  # the tables are the chapter's


@pytest.mark.parametrize(
    ("cell", "error"),
    [("SEED = 0\nSEED = 0", "once"), ("pass", "once"), ("assert 0", "once"),
     ("SEED = 0\nassert 0", "AssertionError")],
)  # fmt: skip
def test_a_chapter_that_fails_for_a_seed_has_no_file(cell, error, tmp_path):
    path = write_chapter(tmp_path / "07_a.ipynb", [[cell, ["every-seed"]]])
    with pytest.raises((ValueError, AssertionError)) as caught:
        every_seed.measure(path, 1)
    assert error in f"{caught.type.__name__} {caught.value}"


def test_the_stored_seeds_are_those_of_the_results_files():
    stored = json.loads((ROOT / "results/chapter-09.json").read_text())
    assert stored["command"] == "python -m tools.every_seed 09"
    for seed, models in enumerate(stored["seeds"]):
        for name, kept in models.items():
            run = recipes.load_results(name)[seed]
            assert kept["valid_loss"] == run["history"][-1]["valid_loss"]


class Parrot:
    """Translates pairs that it was trained on, and copies all else."""

    def __init__(self, corpus):
        self.known = {pair.source: pair.target for pair in corpus.train}
        self.history = [
            {"step": 500, "loss": 1.0, "valid_loss": 2.0, "valid_bleu": 3.0}
            | {"valid_aer": 0.5}
        ]

    def translate(self, sentences):
        return [[*self.known.get(tuple(s), s)] for s in sentences]


def test_versions_of_the_training_data(monkeypatch):
    helpers = []

    def train(recipe, seed, progress, corpus):
        helpers.append((len(corpus.train), recipe.model.dropout))
        return Parrot(corpus)

    monkeypatch.setattr(recipes, "train", train)
    corpus = data_quality.short_corpus()
    true = {pair.source: pair.target for pair in corpus.train}
    made = {
        name: (pairs(), recipe)
        for name, pairs, recipe in data_quality.conditions(corpus, 1)
    }

    def right(name):
        pairs = made[name][0]
        return sum(true.get(p.source) == p.target for p in pairs) / len(pairs)

    few = made["pairs-1000"][0]
    for name, (pairs, recipe) in made.items():
        assert len(pairs) in (300, 1000, 3000, 5000, 10_000), name
        assert recipe.training.steps == (1500 if "long" in name else 500)
    for percent in (10, 30, 50):
        assert right(f"mispaired-{percent}") == pytest.approx(
            1 - percent / 100, abs=0.002
        )
        assert right(f"untranslated-{percent}") == 1 - percent / 100
    assert right("filtered-50") > 0.95
    for name in ("pairs-300", "right-50", "narrow", "mixed", "all-dropout-30"):
        assert right(name) == 1
    for name in ("back-translated", "self-trained", "copied"):
        pairs = made[name][0]
        assert pairs[:1000] == few and len(pairs) == 10_000
        # What the helping model was not trained on it cannot know.
        assert right(name) == pytest.approx(0.1, abs=0.01)
    assert helpers == [(1000, 0.3)] * 2
    targets = {pair.target for pair in corpus.train}
    for name in ("back-translated", "copied"):
        assert {pair.target for pair in made[name][0]} == targets
    assert {p.source for p in made["self-trained"][0]} == true.keys()
    lengths = [len(pair.source) for pair in made["narrow"][0]]
    assert max(lengths) == data_quality.SHORT
    longer = [len(pair.source) > 7 for pair in made["mixed"][0]]
    assert sum(longer) == 100
    dropout = [made[f"dropout-{p}"][1].model.dropout for p in (0, 30, 50)]
    assert dropout == [0, 0.3, 0.5]
    assert data_quality.changes(made["long-dropout-50"][1]) == {
        "dropout": 0.5,
        "steps": 1500,
    }


def test_the_measures_of_one_version(monkeypatch):
    def train(recipe, seed, progress, corpus):
        return Parrot(corpus)

    def validate(trained, pairs):
        return {"valid_loss": float(len(pairs))}

    monkeypatch.setattr(recipes, "train", train)
    monkeypatch.setattr(evaluation, "validate", validate)
    corpus = data_quality.short_corpus()
    small = replace(corpus, test=corpus.test[:40])
    short = [p for p in small.test if len(p.source) <= data_quality.SHORT]
    assert 5 < len(short) < 35
    found = data_quality.measure(small, short, data_quality.RECIPE, 0)
    assert found["pairs"] == found["train_loss"] == len(short)
    assert found["exact"] == len(short) / 40
    assert found["copies"] == (40 - len(short)) / 40
    assert found["short_bleu"] == pytest.approx(100)
    assert found["long_bleu"] < found["bleu"] < 100
    assert found["history"] == [[500, 1.0, 2.0, 3.0]]
    assert found["valid_loss"] == 2 and found["valid_aer"] == 0.5
    assert 0 <= found["known_long"] < 0.3  # 13 pairs have few words
    many = corpus.train[:3000]
    found = data_quality.measure(small, many, data_quality.RECIPE, 0)
    assert found["known_long"] == 1
    assert found["known_long_bleu"] == found["long_bleu"]
    # One side known is not enough.
    for one_side in (untranslated(many, 1.0), untranslated(turned(many), 1.0)):
        found = data_quality.measure(small, one_side, data_quality.RECIPE, 0)
        assert found["known_long"] == 0 and found["known_long_bleu"] is None


def test_made_sources_beside_the_true_ones():
    corpus = data_quality.short_corpus()
    made = corpus.train[:10]
    made[1] = replace(made[1], source=("the", "cat", "."))
    assert data_quality.known_share(made, corpus) == 0.9
    true = corpus.train[1]
    texts = [true.target_sentence, "the cat.", true.source_sentence]
    assert data_quality.examples(made, corpus) == [texts]


def test_the_file_of_data_quality_is_of_this_tool():
    path = ROOT / "results/data-quality.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    corpus = data_quality.short_corpus()
    assert stored["corpus_fingerprint"] == corpus.fingerprint()
    kept = recipes.Recipe.from_settings(stored["recipe"])
    assert kept == data_quality.RECIPE
    wanted = {
        name: data_quality.changes(recipe)
        for name, _, recipe in data_quality.conditions(corpus, 0)
    }
    assert [*stored["seeds"]] == [str(seed) for seed in data_quality.SEEDS]
    for run in stored["seeds"].values():
        assert {name: row["changes"] for name, row in run.items()} == wanted
        for row in run.values():
            steps = row["changes"].get("steps", 500)
            assert row["history"][-1][0] == steps and row["valid_bleu"] > 0


def test_seeds_are_added_to_a_file_of_the_same_settings(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(recipes, "results_dir", lambda: tmp_path)
    monkeypatch.setattr(
        data_quality,
        "conditions",
        lambda corpus, seed: [("one", list, data_quality.RECIPE)],
    )
    monkeypatch.setattr(
        data_quality, "measure", lambda *args: {"bleu": args[-1] + 1 / 3}
    )
    path = tmp_path / "data-quality.json"
    data_quality.main([3])
    data_quality.main([0])
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert [*stored["seeds"]] == ["0", "3"]
    assert stored["seeds"]["3"] == {"one": {"bleu": 3.33333}}
    path.write_text(json.dumps(stored | {"recipe": {}}), encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(SystemExit, match="another recipe or corpus"):
        data_quality.main([1])
    assert path.read_bytes() == before


def test_the_picture_of_costs_shows_what_its_text_says():
    """Every line rises, ours below; beside D2L ever further, but for one."""
    for what, at in pictures.costs().items():
        assert list(at) == sorted(at) and len(at) >= 3
        names = list(next(iter(at.values())))
        for name in names:
            times = [found[name] for found in at.values()]
            assert times == sorted(times)
        for peer in names[::2]:
            ratios = [
                found[peer] / found[f"this book, as {peer}"]
                for found in at.values()
            ]
            assert min(ratios) > 1
            if peer.startswith("D2L") and "vocabulary" not in what:
                assert ratios[-1] == max(ratios) > 1.2 * ratios[0]
    assert len(pictures.costs()) == 4
