"""Draw the pictures that no chapter draws, from the results files.

They are drawn anew for every build and not committed, so they cannot differ
from the results that they show. ``make book`` runs this before the build.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from s2s_lib.corpora import LENGTH_BUCKETS
from s2s_lib.plots import curves, length_curve
from s2s_lib.recipes import load_results

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "_generated"
MEASURED = ROOT / "benchmarks" / "results" / "curves.json"
# What the landing page shows: recipe -> name in the legend.
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


def landing() -> Figure:
    """The picture of the landing page."""
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
    return ax.figure


def costs() -> dict[str, dict[int, dict[str, float]]]:
    """Give what grows -> its size -> each library's ms for an update."""
    found = {}
    rows = json.loads(MEASURED.read_text(encoding="utf-8"))["rows"]
    for row in rows:
        size, _, what = row["work"].partition(" ")
        at = found.setdefault(what, {}).setdefault(int(size), {})
        peer = row["peer"]
        at |= {peer: row["peer_ms"], f"this book, as {peer}": row["ours_ms"]}
    return found


def cost() -> Figure:
    """What an update costs as one size grows: a panel for each size."""
    figure, axes = plt.subplots(
        2, 2, figsize=(7.2, 6.2), sharey=True, layout="constrained"
    )
    figure.set_facecolor("white")
    for ax, (what, at) in zip(axes.flat, costs().items(), strict=True):
        names = list(next(iter(at.values())))
        lines = {
            name: [found[name] for found in at.values()] for name in names
        }
        label = "ms for an update" if ax in axes[:, 0] else ""
        curves(list(at), lines, what, label, ax)
        ax.set(xscale="log", yscale="log")
        ax.xaxis.set_major_locator(FixedLocator(list(at)))
        ax.xaxis.set_minor_locator(NullLocator())
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        ax.get_legend().remove()  # one below serves all
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=2)
    return figure


def main() -> int:
    """Write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    landing().savefig(FOLDER / "bleu-by-length.png", dpi=160)
    cost().savefig(FOLDER / "cost.png", dpi=160)
    return 0


if __name__ == "__main__":
    sys.exit(main())
