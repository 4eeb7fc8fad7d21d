"""Which learning rate suits which model: ``results/rates.json``.

`python -m tools.rates` trains variants of one model without attention, seed
0, once with each rate, and writes how the last update does on the validation
split. The test split is not looked at. By the best BLEU the rate of each
recipe was chosen. Weights that are in the cache are not trained again.
"""

import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

from s2s_lib import recipes

NAMES = ("plain", "plain-once", "plain-lstm", "plain-rnn", "one-way-once")
RATES = (2e-3, 4e-3, 8e-3, 16e-3, 32e-3)


def with_rate(name: str, rate: float) -> recipes.Recipe | str:
    """The recipe at this rate; its name, if that is its own rate."""
    recipe = recipes.RECIPES[name]
    if recipe.training.learning_rate == rate:
        return name
    return replace(
        recipe, training=replace(recipe.training, learning_rate=rate)
    )


def measure(names: Sequence[str], rates: Sequence[float]) -> dict[str, Any]:
    """The content of the file.

    Under `trials`, for each recipe and rate: `valid_bleu` and `valid_loss`
    (nats per token) after the last update. Under `recipes`, what the
    recipes are, but for the rate.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    settings = {}
    for name in names:
        settings[name] = asdict(recipes.RECIPES[name])
        del settings[name]["training"]["learning_rate"]
        found[name] = {}
        for rate in rates:
            last = recipes.train(with_rate(name, rate), 0, False).history[-1]
            trial = {key: last[key] for key in ("valid_bleu", "valid_loss")}
            found[name][f"{rate:g}"] = trial
            print(name, f"{rate:g}", f"{trial['valid_bleu']:.1f}", flush=True)
    return {
        "command": "python -m tools.rates",
        "seed": 0,
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "numpy")},
        },
        "recipes": settings,
        "trials": found,
    }


def main() -> None:
    """Write the file."""
    print(recipes.write_results("rates", measure(NAMES, RATES)))


if __name__ == "__main__":
    main()
