"""What a chapter hands from its code to its prose.

Prose never contains a measured number that was typed by hand. A cell gives
the number a name, ``glue("bleu", f"≈ {score:.1f}")``, and the text shows it
with the role ``{glue:text}`bleu` ``. The notebook shows nothing for it, and
the tests compare it as they compare printed text.

The score table of the book is made here too, out of the results files.
"""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean
from typing import Any

from s2s_lib.corpora import LENGTH_BUCKETS
from s2s_lib.recipes import load_results


def glue(name: str, text: str) -> None:
    """Store a formatted value in the notebook, for the text of the page.

    Args:
        name: how the text refers to the value; unique in a chapter.
        text: the value as it is to be read. Out of a training it starts with
            ``≈`` and the cell asserts its range; without ``≈`` it is compared
            exactly.

    Raises:
        TypeError: ``text`` is not a string: a bare float would be compared
            to its last digit.
    """
    if not isinstance(text, str):
        raise TypeError(
            f"glue({name!r}, ...) takes the text to show, not a "
            f"{type(text).__name__}; format it, as in f'≈ {{value:.1f}}'"
        )
    from IPython.display import display  # only notebooks need IPython

    prefix = "application/papermill.record/"
    display(
        {f"{prefix}text/plain": repr(text)},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": prefix}},
    )


def score_rows(models: Mapping[str, str] | Sequence[str]) -> list[list[str]]:
    """The score table of the book as text, its heading first.

    Args:
        models: recipes, or recipe -> name to show. Each needs results files.

    Returns:
        One row per recipe: name, seeds, parameters, steps, seconds of
        training, BLEU, alignment error rate, BLEU by source length. Scores
        are means over the seeds; BLEU has the smallest and the largest seed
        behind it. What a model has not, or a results file from before it was
        measured, is shown as "–".

    Raises:
        FileNotFoundError: if a recipe has no results file.
    """
    if not isinstance(models, Mapping):
        models = {name: name for name in models}
    head = ["model", "seeds", "parameters", "steps", "seconds"]
    head += ["BLEU (range)", "AER"]
    head += [f"{low}–{high}" for low, high in LENGTH_BUCKETS]
    return [head, *(_row(name, label) for name, label in models.items())]


def _row(name: str, label: str) -> list[str]:
    runs = load_results(name)
    metrics = [run["metrics"] for run in runs]
    scores = [m["bleu"] for m in metrics]
    spread = f" ({min(scores):.1f}–{max(scores):.1f})" if scores[1:] else ""
    rates = [(m.get("alignment") or {}).get("error_rate") for m in metrics]
    lengths = zip(*(m["bleu_by_length"] for m in metrics), strict=True)
    return [
        label,
        str(len(runs)),
        f"{runs[0]['parameters']:,}",
        f"{runs[0]['recipe']['training']['steps']:,}",
        f"{fmean(run['training_seconds'] for run in runs):.0f}",
        f"{fmean(scores):.1f}{spread}",
        _mean(rates, ".3f"),
        *(_mean(scores, ".1f") for scores in lengths),
    ]


def _mean(values: Sequence[float | None], form: str) -> str:
    there = [value for value in values if value is not None]
    return f"{fmean(there):{form}}" if there else "–"


def table(rows: Sequence[Sequence[str]]) -> None:
    """Show rows of text as a table; the first row is the heading.

    Raises:
        ValueError: if the rows are not equally long.
    """
    if len({len(row) for row in rows}) != 1:
        raise ValueError(
            "a table needs rows of one length, 1 or more of them; these have "
            f"{[len(row) for row in rows]} cells"
        )
    from IPython.display import display

    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in rows[0])
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows[1:]
    )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    plain = "\n".join(
        "  ".join(
            c.ljust(w) for c, w in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    )
    content: dict[str, Any] = {
        "text/plain": plain,
        "text/html": '<div class="score-table" style="overflow-x: auto" '
        f'tabindex="0"><table class="table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>",
    }
    display(content, raw=True)


def score_table(models: Mapping[str, str] | Sequence[str]) -> None:
    """Show `score_rows` as a table."""
    table(score_rows(models))
