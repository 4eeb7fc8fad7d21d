"""Every committed results file is of a recipe that is still the same."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from s2s_lib.catalogue import RECIPES, Recipe

FOLDER = Path(__file__).resolve().parents[2] / "results"
FILES = sorted(FOLDER.glob("*-seed*.json"))


@pytest.fixture(scope="module")
def generated_fingerprint():
    # In a process of its own: with the checks of this one it takes minutes.
    code = (
        "from s2s_lib import corpora as c; print(c.generated().fingerprint())"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command,
        cwd=FOLDER.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()


def problems(path, result, fingerprint):
    """What is stale about a results file; an empty list if nothing is."""
    name, seed = result["name"], result["seed"]
    command = f"python -m s2s_lib reproduce {name} --seed {seed}"
    found = []
    if path.name != f"{name}-seed{seed}.json":
        found.append("its name is not that of its recipe and seed")
    if result["command"] != command:
        found.append(f"its command is not {command!r}")
    if name not in RECIPES:
        return [*found, f"there is no recipe {name!r} any more"]
    if Recipe.from_settings(result["recipe"]) != RECIPES[name]:
        found.append("its recipe has changed since")
    generated = RECIPES[name].corpus == "generated"
    if generated and result["corpus_fingerprint"] != fingerprint:
        found.append("the generated corpus has changed since")
    last = result["history"][-1]["step"]
    if last != result["recipe"]["training"]["steps"]:
        found.append("its training is not complete")
    return found


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_results_file_is_not_stale(path, generated_fingerprint):
    result = json.loads(path.read_text("utf-8"))
    found = problems(path, result, generated_fingerprint)
    assert not found, (
        f"{path.name} is stale: {'; '.join(found)}. Make it anew with: "
        f"{result['command']}"
    )


def test_a_stale_file_is_noticed():
    """Each change of a good file is a problem; the good file has none."""
    name, recipe = "plain", RECIPES["plain"]
    good = {
        "name": name,
        "seed": 0,
        "command": "python -m s2s_lib reproduce plain --seed 0",
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "corpus_fingerprint": "f",
        "history": [{"step": recipe.training.steps}],
    }
    path = FOLDER / "plain-seed0.json"
    assert problems(path, good, "f") == []
    changes = [
        {"name": "plain2"},
        {"seed": 1},
        {"command": "python train.py"},
        {"recipe": good["recipe"] | {"min_count": 7}},
        {
            "recipe": good["recipe"]
            | {"training": good["recipe"]["training"] | {"warmup": 5}}
        },
        {"corpus_fingerprint": "g"},
        {"history": [{"step": 1}]},
    ]
    for change in changes:
        assert problems(path, good | change, "f"), change


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name):
    """So that a results file can be compared with its recipe."""
    settings = asdict(RECIPES[name])
    assert json.loads(json.dumps(settings)) == settings
