"""Draw the picture of the landing page from the results files.

It is drawn anew for every build and not committed, so it cannot differ from
the results that it shows. ``make book`` runs this before the build.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from s2s_lib.corpora import LENGTH_BUCKETS
from s2s_lib.plots import length_curve
from s2s_lib.recipes import load_results

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "_generated" / "bleu-by-length.png"
# What the picture shows: recipe -> name in the legend.
SHOWN = {
    "plain": "one vector, 1,000 steps",
    "plain-longest": "one vector, 27,000 steps",
    "additive": "attention, 500 steps",
    "additive-low-rate": "attention, 9,000 steps, lower rate",
    "transformer": "Transformer, 500 steps",
}


def series() -> dict[str, list[list[float]]]:
    """Give BLEU by length, a row for each seed, under each name."""
    shown = {}
    for name, label in SHOWN.items():
        runs = load_results(name)
        seeds = f"{len(runs)} seed{'s' if len(runs) > 1 else ''}"
        shown[f"{label} ({seeds})"] = [
            run["metrics"]["bleu_by_length"] for run in runs
        ]
    return shown


def main() -> int:
    """Write the picture."""
    ax = length_curve(LENGTH_BUCKETS, series())
    ax.set_ylim(0, 102)
    # Under the picture, where no curve runs.
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.18),
        ncols=2,
        frameon=False,
        fontsize=9,
    )
    ax.set_title("With and without attention", loc="left", fontsize=11)
    TARGET.parent.mkdir(exist_ok=True)
    ax.figure.savefig(TARGET, dpi=160)
    return 0


if __name__ == "__main__":
    sys.exit(main())
