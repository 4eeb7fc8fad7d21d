"""The README says what the results files say."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("no attention", "multi30k-plain"),
        ("additive attention, 500", "multi30k-additive"),
        ("additive attention, 1,000", "multi30k-additive-long"),
    ],
)
def test_the_table_repeats_the_results_files(model, name):
    path = ROOT / f"results/{name}-seed0.json"
    assert f"results/{path.name}" in README
    result = json.loads(path.read_text(encoding="utf-8"))
    (row,) = (
        line for line in README.splitlines() if f"GRU 256, {model}" in line
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2] == f"{result['metrics']['bleu']:.1f}"
    minutes = result["training_seconds"] / 60
    assert cells[4] == f"{minutes:.0f} minutes on one core"
    for part in result["metrics"]["signature"].split("|"):
        if not part.startswith("eff:"):
            assert part in cells[3]


def benchmark_row(seeds):
    """The line of the table for a row's results files, one per seed."""
    recipe, name = seeds[0]["recipe"], seeds[0]["name"]
    kind = {None: "Transformer", "none": "GRU without attention"}.get(
        recipe["model"].get("attention"), "GRU with attention"
    )
    training = recipe["training"]
    size = f"{training['steps']:,} × {training['batch_tokens']:,}"
    scores, times = [], []
    for seed in seeds:
        metrics = seed["metrics"]
        scores.append((metrics["bleu_tokenized"]["score"], metrics["bleu"]))
        (threads,) = re.findall(r"(\d+) thread", seed["machine"])
        cores = {"1": "one core", "2": "two cores"}[threads]
        times.append(f"{seed['training_seconds'] / 3600:.1f} hours on {cores}")
    cells = [
        f"{kind}, {recipe['pair']}, {size}: `{name}`",
        *(
            ", ".join(f"{x:.1f}" for x in column)
            for column in zip(*scores, strict=True)
        ),
        ", ".join(times),
    ]
    return f"| {' | '.join(cells)} |"


def test_each_row_of_the_benchmark_is_in_the_table_and_no_other():
    rows = {}
    for path in sorted((ROOT / "results").glob("benchmark-*-seed*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["recipe"]["corpus"] == "multi30k":
            rows.setdefault(result["name"], []).append(result)
            assert f"`{result['metrics']['signature']}`" in README
            tokenised = result["metrics"]["bleu_tokenized"]["signature"]
            assert f"`{tokenised}`" in README
    found = {row for row in README.splitlines() if "`benchmark-" in row}
    expected = {benchmark_row(seeds) for seeds in rows.values()}
    assert {row for row in found if row.startswith("|")} == expected


@pytest.mark.parametrize("pair", ["en-fr", "en-de"])
def test_the_intervals_are_those_of_the_results(pair):
    path = ROOT / "results/multi30k-errors.json"
    found = json.loads(path.read_text(encoding="utf-8"))["pairs"][pair]
    name = f"benchmark-small-batch-longest-{pair}-seed0"
    score = found["models"][name]["scores"]["tokenised by Moses"]
    low, high = found["models"][name]["interval"]
    text = " ".join(README.split())
    text = text.replace("95 per cent interval over sentences: ", "")
    language = {"en-fr": "French", "en-de": "German"}[pair]
    assert f"{score:.1f} to {language} ({low:.1f} to {high:.1f})" in text


def test_the_speeds_are_those_of_the_benchmark():
    path = ROOT / "benchmarks/results/translation.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    works = (
        "training step, 128 pairs sorted by length",
        "training step, 128 pairs unsorted",
        "greedy search, 64 sentences",
        "beam search (5), 64 sentences",
    )
    ratios = {(row["peer"], row["work"]): row["ratio"] for row in rows}
    for peer in ("D2L 1.0.3", "JoeyNMT 2.3"):
        cells = [ratios.get((peer, work), "") for work in works]
        text = " | ".join([peer, *map(str, cells)])
        assert f"| {text}" in README, text
    goals = [row for row in rows if "mark" in row]
    met = sum(row["ratio"] >= row["mark"] for row in goals)
    assert f"Of these {len(goals)} goals this run met {met};" in README


def test_the_attention_and_the_memory_are_those_of_the_benchmark():
    found = {}
    for name in ("attention", "memory", "streaming"):
        path = ROOT / f"benchmarks/results/{name}.json"
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
            found[row["work"]] = row
    text = " ".join(README.split())
    work = "additive attention, 256 by 256, forward"
    ratio, gradient = (
        found[name]["ratio"] for name in (work, work + " and backward")
    )
    assert f"{ratio} times as fast as that of D2L, and {gradient} " in text
    assert found[work]["ours_mb"] <= found[work]["peer_mb"] / 10
    for start, said in (
        ("training benchmark-en-fr", "`benchmark-en-fr` took"),
        ("streaming 10,000,000", "from files took"),
    ):
        (row,) = (row for w, row in found.items() if w.startswith(start))
        assert f"{said} {row['mb']:,} MB" in text


def test_the_command_has_the_settings_of_the_recipe():
    from s2s_lib.catalogue import RECIPES

    recipe = RECIPES["multi30k-additive"]
    command = README[README.index("train --corpus multi30k") :]
    command = command[: command.index("--out")].replace("\\\n", " ")
    given = dict(re.findall(r"--([a-z-]+) (\S+)", command))
    assert given.pop("corpus") == recipe.corpus
    assert given.pop("pair") == recipe.pair
    assert int(given.pop("min-count")) == recipe.min_count
    for name, text in given.items():
        field = name.replace("-", "_")
        owner = recipe.model
        if not hasattr(owner, field):
            owner = recipe.training
        value = getattr(owner, field)
        assert type(value)(text) == value, name


def test_the_command_in_chapter_18_has_the_settings_of_its_recipe():
    from s2s_lib.catalogue import RECIPES

    path = ROOT / "chapters" / "18_real_benchmark.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    command = text[text.index("train --corpus train.en,train.fr") :]
    command = command[: command.index("```")].replace("\\\n", " ")
    given = dict(re.findall(r"--([a-z-]+)(?: ([^-\s]\S*))?", command))
    recipe = RECIPES["benchmark-en-fr"]
    assert given.pop("architecture") == "transformer"
    assert given.pop("pair") == recipe.pair
    assert int(given.pop("beam")) == recipe.beam_size
    for name in ("corpus", "out", "model", "test"):
        given.pop(name)
    settings = [recipe, recipe.model, recipe.training]
    for name, text in given.items():
        field = name.replace("-", "_")
        (owner,) = (part for part in settings if hasattr(part, field))
        value = getattr(owner, field)
        assert value is True or type(value)(text) == value, name
    # What the command leaves out has the default of its class.
    for part in settings[1:]:
        for field, value in vars(part).items():
            if field.replace("_", "-") not in given:
                assert value == getattr(type(part)(), field), field
