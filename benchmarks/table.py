"""The tables of how-it-is-tested.md, made from benchmarks/results/."""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).resolve().parent.parent / "how-it-is-tested.md"
BEGIN = "<!-- The rest of this section is written by `make bench`. -->\n"
END = "<!-- Up to here. -->\n"

# Parts of the measurement, in their order, and what is said about each.
PARTS = {
    "translation": "Training and searching at real size. The sentences are "
    "random and have the lengths of Multi30k; 6,000 words on each side, "
    "states and word vectors of 256 numbers, additive attention. The step "
    "is the whole one: forward, loss, backward, clip, Adam. "
    "`torch.nn.Transformer` has 4 + 4 layers of 128 numbers. In searching "
    "every sentence ends by itself, after about 15 steps; JoeyNMT computes "
    "all sentences up to the last one's end, D2L up to a limit of 51 steps. "
    "Ours packs its weights once for the three batches, as `n_best` does for "
    "all of its.",
    "products": "Layers with large products of matrices: torch's own, and "
    "ours, for which oneDNN makes them; with weights packed, as in a search.",
    "attention": "Attention alone, of one sentence with itself, 256 numbers "
    "in a state; additive with all projections.",
    "transformer": "Multi-head attention, and decoding of an untrained model "
    "with and without a cache; 128 numbers, 4 heads.",
    "recurrent": "Parts of the recurrent models; those that search are "
    "untrained.",
    "curves": "One training step as one size grows. Where it does not, a "
    "sentence has 15 ids, a batch 64 pairs, a vocabulary 6,000 ids, a state "
    "256 numbers.",
    "memory": "The most memory that a process held, everything included.",
    "streaming": "A corpus larger than memory.",
}

# What stands above the table of a part; `tools.pictures` draws the picture.
PICTURES = {
    "curves": """```{figure} _generated/cost.png
:name: fig-cost
:alt: Four panels with logarithmic axes, milliseconds of an update against \
ids in a sentence, pairs in a batch, ids in a vocabulary and numbers in a \
state. All four lines rise in every panel. Each library's line lies above \
that of this book for the same model; beside D2L the distance grows with \
length, batch and state.

The cost of an update as one size grows, from the table below. *This book, \
as ...* is the twin of the peer's model.
```

"""
}


def render() -> str:
    """The tables of all files that are there."""
    parts = []
    for name, about in PARTS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            parts.append(PICTURES.get(name, "") + _part(about, found))
    return "\n".join(parts)


def _part(about: str, found: dict) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in found["versions"].items())
    rows = found["rows"]
    lines = _times(rows) if "peer" in rows[0] else _limits(rows)
    return (
        f"{about} Measured with `{found['command']}` on {found['machine']}; "
        f"{versions}.\n\n" + "\n".join(lines) + "\n"
    )


def _times(rows: list[dict]) -> list[str]:
    """Rows beside a peer; columns that no row fills are left out."""
    memory = any("peer_mb" in row for row in rows)
    marks = any("mark" in row for row in rows)
    head = ["Work", "Beside", "Theirs, ms", "Ours, ms", "Times faster"]
    head += ["Theirs, MB", "Ours, MB"] * memory + ["To be reached"] * marks
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    if marks:
        lines[1][-1] = "---"
    for row in rows:
        # A long name may be broken behind an underscore.
        cells = [row["work"], row["peer"].replace("_", "_\u200b")]
        cells += [_number(row[k]) for k in ("peer_ms", "ours_ms", "ratio")]
        if memory:
            cells += [_number(row[k]) for k in ("peer_mb", "ours_mb")]
        lines.append(cells + [_mark(row)] * marks)
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _mark(row: dict) -> str:
    """The mark that was set, and in words whether it is met."""
    if "mark" not in row:
        return ""
    said = f"{row['mark']:g}: {_met(row['ratio'] >= row['mark'])}"
    if "mark_memory" in row:
        share = row["mark_memory"]
        met = row["ours_mb"] <= share * row["peer_mb"]
        said += f"; {share:g} of the memory: {_met(met)}"
    return said


def _met(met: bool) -> str:
    return "met" if met else "**not met**"


def _limits(rows: list[dict]) -> list[str]:
    """Rows with a limit, such as of memory, and no peer."""
    lines = ["| Work | MB | Limit, MB |", "| --- | ---: | --- |"]
    for row in rows:
        met = _met(row["mb"] <= row["mark_mb"])
        lines.append(
            f"| {row['work']} | {row['mb']} | {row['mark_mb']}: {met} |"
        )
    return lines


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    digits = f"{value:.3g}"
    return f"{float(digits):,.0f}" if "e" in digits else digits


def with_tables(page: str) -> str:
    """The page with the tables as the files give them.

    Raises:
        ValueError: if the two lines between which they stand are not there.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(
            f"{PAGE.name} needs these two lines, and the tables between "
            f"them:\n{BEGIN}{END}"
        )
    return f"{before}{BEGIN}\n{render()}\n{END}{after}"


def write_page() -> None:
    """Put the tables into the page."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_tables(page), encoding="utf-8")
