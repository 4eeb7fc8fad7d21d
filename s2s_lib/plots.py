"""Pictures. Each function takes data, draws on Axes and returns them.

Colours mean roles, the same in every picture of the book, and each role has
a marker or line style of its own too, so that colour is never the only clue.
"""

from collections.abc import Collection, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

# None stands for a value that there is not: a gap in the line.
Numbers = Sequence[float | int | None] | np.ndarray

ROLES = {
    "encoder": "#0b6e99",
    "decoder": "#b3400f",
    "query": "#7a3e9d",
    "key": "#8a6100",
    "value": "#2f7d32",
    "context": "#b0005e",
    "padding": "#6b6b6b",
}
_SERIES = ("encoder", "decoder", "query", "value", "key", "context", "padding")
_MARKERS = "osD^vPX"
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def new_axes(width: float = 6.4, height: float = 3.6) -> Axes:
    """Fresh Axes on a white ground, sized in inches."""
    figure, ax = plt.subplots(figsize=(width, height), layout="constrained")
    figure.set_facecolor("white")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def curves(
    x: Numbers,
    series: Mapping[str, Numbers | Sequence[Numbers]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
    marker: bool = True,
) -> Axes:
    """One line per name; several rows (seeds) become a mean and a band.

    Args:
        x: the positions along the horizontal axis, as numbers.
        series: name -> values, one per x, or a list of such rows; the band
            then runs from the smallest to the largest row.
        xlabel, ylabel: axis titles, with the unit where there is one.
        ax: where to draw; fresh Axes by default.
        marker: mark each point.

    Raises:
        ValueError: if a series is not as long as `x`.
    """
    ax = new_axes() if ax is None else ax
    for i, (name, values) in enumerate(series.items()):
        rows = np.atleast_2d(np.asarray(values, dtype=float))
        if rows.shape[1] != len(x):
            raise ValueError(
                f"series {name!r} has {rows.shape[1]} values for "
                f"{len(x)} positions on the x axis"
            )
        style = i % len(_SERIES)
        colour = ROLES[_SERIES[style]]
        ax.plot(
            x,
            rows.mean(0),
            color=colour,
            linestyle=_LINES[style],
            marker=_MARKERS[style] if marker else None,
            markersize=4,
            label=name,
        )
        if len(rows) > 1:
            low, high = rows.min(0), rows.max(0)
            ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if len(series) > 1:
        ax.legend(frameon=False)
    return ax


def length_curve(
    buckets: Sequence[tuple[int, int]],
    series: Mapping[str, Numbers | Sequence[Numbers]],
    ax: Axes | None = None,
    ylabel: str = "BLEU",
) -> Axes:
    """A score against source length; see `curves` for `series`."""
    ax = curves(range(len(buckets)), series, "source tokens", ylabel, ax=ax)
    ax.set_xticks(
        range(len(buckets)), [f"{low}–{high}" for low, high in buckets]
    )
    ax.set_ylim(bottom=0)
    return ax


def learning_curve(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float | int]]]],
    value: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """A column of training histories against the step.

    Args:
        histories: name -> histories, one per seed, as `training.fit` gives.
        value: which column to draw, such as "valid_bleu".
        ylabel: title of the vertical axis.
    """
    ax = new_axes() if ax is None else ax
    for i, (name, rows) in enumerate(histories.items()):
        style = i % len(_SERIES)
        for seed, history in enumerate(rows):
            ax.plot(
                [row["step"] for row in history],
                [row[value] for row in history],
                color=ROLES[_SERIES[style]],
                linestyle=_LINES[style],
                alpha=0.8,
                label=name if seed == 0 else None,
            )
    ax.set_xlabel("training step")
    ax.set_ylabel(ylabel)
    if len(histories) > 1:
        ax.legend(frameon=False)
    return ax


def heat_map(
    weights: Sequence[Numbers] | np.ndarray,
    source: Sequence[str],
    target: Sequence[str],
    boxes: Collection[tuple[int, int]] = (),
    faint_boxes: Collection[tuple[int, int]] = (),
    ax: Axes | None = None,
) -> Axes:
    """Weights of target rows on source columns, from 0 to 1.

    Args:
        weights: (target, source), one row per target token.
        source, target: tokens, as labels of the columns and the rows.
        boxes: links (source position, target position) to frame, as a gold
            alignment has them.
        faint_boxes: links to frame with a dashed line (possible links).

    Raises:
        ValueError: if the shape is not (target tokens, source tokens).
    """
    grid = np.asarray(weights, dtype=float)
    if grid.shape != (len(target), len(source)):
        raise ValueError(
            f"weights have shape {grid.shape}; {len(target)} target rows "
            f"and {len(source)} source columns were expected"
        )
    if ax is None:
        size = 0.34
        ax = new_axes(1.6 + size * len(source), 1.2 + size * len(target))
    ax.imshow(grid, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    ax.set_xticks(range(len(source)), source, rotation=60, ha="left")
    ax.set_yticks(range(len(target)), target)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    for links, line in ((boxes, "-"), (faint_boxes, ":")):
        for i, j in links:
            ax.add_patch(
                Rectangle(
                    (i - 0.5, j - 0.5),
                    1,
                    1,
                    fill=False,
                    edgecolor=ROLES["decoder"],
                    linestyle=line,
                    linewidth=1.6,
                )
            )
    return ax


def alignment(
    source: Sequence[str],
    target: Sequence[str],
    sure: Collection[tuple[int, int]],
    possible: Collection[tuple[int, int]] = (),
    ax: Axes | None = None,
) -> Axes:
    """Two sentences one above the other, linked word to word.

    Sure links are full lines, links that are only possible dashed ones.
    """
    widths = [
        [len(token) + 1.5 for token in side] for side in (source, target)
    ]
    if ax is None:
        ax = new_axes(0.115 * max(map(sum, widths)) + 0.4, 2.0)
    centres = []
    for side, width in zip((source, target), widths, strict=True):
        ends = np.cumsum(width) - sum(width) / 2
        centres.append(ends - np.asarray(width) / 2)
        y = 1.0 if len(centres) == 1 else 0.0
        colour = ROLES["encoder" if y else "decoder"]
        for x, token in zip(centres[-1], side, strict=True):
            ax.text(
                x,
                y,
                token,
                ha="center",
                va="bottom" if y else "top",
                color=colour,
                family="DejaVu Sans Mono",
                fontsize=9,
            )
    faint = set(possible) - set(sure)
    for links, line in ((sure, "-"), (faint, "--")):
        for i, j in sorted(links):
            ax.plot(
                [centres[0][i], centres[1][j]],
                [0.98, 0.02],
                color=ROLES["padding"],
                linestyle=line,
                linewidth=1.0,
            )
    half = max(map(sum, widths)) / 2
    ax.set_xlim(-half, half)
    ax.set_ylim(-0.2, 1.2)
    ax.axis("off")
    return ax


def bars(
    values: Mapping[str, float | int], ylabel: str, ax: Axes | None = None
) -> Axes:
    """One bar per name, with its value written on it."""
    ax = new_axes() if ax is None else ax
    drawn = ax.bar(list(values), list(values.values()), color=ROLES["encoder"])
    ax.bar_label(drawn, fmt="{:.3g}", padding=2)
    ax.set_ylabel(ylabel)
    return ax


def diagram(
    nodes: Mapping[str, tuple[float | int, float | int, str, str]],
    arrows: Sequence[tuple[str, str]],
    ax: Axes | None = None,
) -> Axes:
    """Labelled boxes and the arrows between them.

    A box is 0.8 inches wide and 0.4 high, on a grid whose unit is an inch.

    Args:
        nodes: name -> (x, y, label, role). The role, a key of `ROLES`, gives
            the colour of the frame; "" leaves the label without a frame. A
            label that is an operator, such as "+" or "×", gets a circle.
        arrows: pairs of names, from the first to the second.
        ax: where to draw; fresh Axes in the size of the diagram by default.

    Raises:
        KeyError: if an arrow names a node that is not there.
    """
    xs, ys = zip(*(node[:2] for node in nodes.values()), strict=True)
    left, right = min(xs) - 0.5, max(xs) + 0.5
    low, high = min(ys) - 0.3, max(ys) + 0.3
    ax = new_axes(right - left, high - low) if ax is None else ax
    shapes = {}
    for name, (x, y, label, role) in nodes.items():
        style = {"facecolor": "white", "edgecolor": "none", "linewidth": 1.6}
        if role:
            style["edgecolor"] = ROLES[role]
        if label in {"+", "×", "−", "·"}:
            shape = Circle((x, y), 0.14, **style)
        else:
            shape = FancyBboxPatch(
                (x - 0.36, y - 0.16),
                0.72,
                0.32,
                boxstyle="round,pad=0.04",
                **style,
            )
        shapes[name] = ax.add_patch(shape)
        ink = ROLES[role] if role else "black"
        ax.text(x, y, label, ha="center", va="center", color=ink, fontsize=10)
    for start, end in arrows:
        ax.annotate(
            "",
            xy=nodes[end][:2],
            xytext=nodes[start][:2],
            arrowprops={
                "arrowstyle": "-|>",
                "color": ROLES["padding"],
                "patchA": shapes[start],
                "patchB": shapes[end],
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
    ax.set_aspect("equal")
    ax.axis("off")
    return ax
