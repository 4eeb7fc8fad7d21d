"""Attention to point at: one target word at a time, its weights as bars.

What a page gets is tables of weights with a small script and style sheet
beside them, all in one piece of HTML. The script reads the tables and turns
them into the view; where scripts are stripped, as from a notebook that is
not trusted, the tables are what is read. Nothing is fetched, so the view
works without a kernel and without a network.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from operator import index

import numpy as np

from s2s_lib.plots import Numbers

TITLE = "Attention, word by word"
# Weights are sums and quotients of floats: this much over 1 is rounding.
_SLACK = 1e-5
_GOLD = "✓"


@dataclass(frozen=True)
class View:
    """What one model looked at, for each word of one translation.

    The translation is the model's own, or the true one that it was fed; the
    name is the place to say which.

    The values are checked and kept as tuples, so that a view can be stored
    as JSON and made again from it: ``View(**dataclasses.asdict(view))``.

    Args:
        name: which model, such as "additive".
        source: the tokens the weights point to, `<eos>` too if it is one.
        target: the tokens of the translation.
        weights: (target, source), each from 0 to 1.
        links: gold links (source position, target position).
        probabilities: per target token, what the model gave it, 0 to 1.

    Raises:
        ValueError: if there are no tokens, if a sentence is one string, if
            shapes differ, if a number is not from 0 to 1, or if a link
            leads out of the sentences.
    """

    name: str
    source: Sequence[str]
    target: Sequence[str]
    weights: Sequence[Numbers] | np.ndarray
    links: Iterable[Sequence[int] | np.ndarray] = ()
    probabilities: Numbers | None = None

    def __post_init__(self) -> None:
        for side in ("source", "target"):
            tokens = getattr(self, side)
            if isinstance(tokens, str) or not len(tokens):
                raise ValueError(
                    f"view {self.name!r}: {side} is {tokens!r}; expected a "
                    "sequence of one token or more"
                )
            self._keep(side, tuple(tokens))
        sizes = len(self.target), len(self.source)
        grid = self._checked("weights", self.weights, sizes)
        self._keep("weights", tuple(map(tuple, grid.tolist())))
        if self.probabilities is not None:
            row = self._checked("probabilities", self.probabilities, sizes[:1])
            self._keep("probabilities", tuple(row.tolist()))
        links = sorted((index(i), index(j)) for i, j in self.links)
        for i, j in links:
            if not (0 <= i < sizes[1] and 0 <= j < sizes[0]):
                raise ValueError(
                    f"view {self.name!r}: link ({i}, {j}) leads out of "
                    f"{sizes[1]} source and {sizes[0]} target tokens; links "
                    "are (source position, target position), from 0"
                )
        self._keep("links", tuple(links))

    def _keep(self, field: str, value: tuple) -> None:
        object.__setattr__(self, field, value)

    def _checked(
        self,
        what: str,
        values: Numbers | Sequence[Numbers],
        shape: tuple[int, ...],
    ) -> np.ndarray:
        try:
            numbers = np.asarray(values, dtype=float)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"view {self.name!r}: {what} are not numbers in rows of "
                f"equal length: {error}"
            ) from None
        if numbers.shape != shape:
            order = "(target, source)" if len(shape) == 2 else "(target,)"
            raise ValueError(
                f"view {self.name!r}: {what} have shape {numbers.shape}; "
                f"expected {shape}, {order}"
            )
        # NaN is not within any limits, and so is refused here, too.
        within = (numbers >= -_SLACK) & (numbers <= 1 + _SLACK)
        if not within.all():
            place = tuple(int(i) for i in np.argwhere(~within)[0])
            raise ValueError(
                f"view {self.name!r}: {what}{list(place)} is "
                f"{numbers[place]:g}; expected numbers from 0 to 1"
            )
        return numbers.clip(0, 1)


Views = Sequence[View] | Mapping[str, Sequence[View]]


def html(views: Views, title: str = TITLE) -> str:
    """The view as a piece of HTML that needs nothing from elsewhere.

    The same data gives the same text, to the byte. There are no ids in it,
    so any number of views may share a page.

    Args:
        views: of one source sentence, one view per model; or such views
            under the name of each example.
        title: stands above, and names the view to a screen reader.

    Raises:
        ValueError: if there is no view, or if the views of an example have
            different source sentences or the same name twice.
    """
    examples = views if isinstance(views, Mapping) else {"": views}
    if not examples:
        raise ValueError("there are no views; expected one or more")
    for name, group in examples.items():
        _check_example(name, group)
    tables = "\n".join(
        _table(name, view)
        for name, group in examples.items()
        for view in group
    )
    return (
        '<div class="s2s-explorer mathjax_ignore tex2jax_ignore" '
        f'role="group" aria-label="{escape(title)}" '
        'data-lm-suppress-shortcuts="true">\n'
        f"<style>\n{_asset('explorer.css')}\n</style>\n"
        f'<p class="s2s-title">{escape(title)}</p>\n{tables}\n'
        f"<script>\n{_asset('explorer.js')}\n</script>\n</div>"
    )


def show(views: Views, title: str = TITLE) -> None:
    """Display `html` of the same arguments below the cell.

    The tests compare what a cell displays with what is stored, exactly.
    Weights that a cell has just computed with a trained model may differ in
    the third decimal on another machine; so take them from a file of
    results, or from numbers written in the cell.
    """
    from IPython.display import display  # only notebooks need IPython

    page = html(views, title)
    display({"text/html": page, "text/plain": f"<{title}>"}, raw=True)


def _check_example(name: str, views: Sequence[View]) -> None:
    """Raise ValueError if the views cannot be compared word by word."""
    where = f"example {name!r}: " if name else ""
    if not len(views):
        raise ValueError(f"{where}there are no views; expected one or more")
    first, names = views[0], [view.name for view in views]
    for view in views:
        if view.source != first.source:
            raise ValueError(
                f"{where}views {first.name!r} and {view.name!r} have "
                "different source sentences; give each sentence an example "
                "of its own: {'first': [...], 'second': [...]}"
            )
    if len(set(names)) < len(names):
        raise ValueError(
            f"{where}the views are named {names}; each needs its own name"
        )


def _table(example: str, view: View) -> str:
    """The view as a table; it is also the data that the script reads."""
    extra = view.probabilities is not None
    head = "".join(f'<th scope="col">{escape(word)}' for word in view.source)
    rows = []
    for j, word in enumerate(view.target):
        cells = [
            _number(weight) + f" {_GOLD}" * ((i, j) in view.links)
            for i, weight in enumerate(view.weights[j])
        ]
        if extra:
            cells.insert(0, _number(view.probabilities[j]))
        row = "".join(f"<td>{cell}" for cell in cells)
        rows.append(f'<tr><th scope="row">{escape(word)}{row}')
    label = f"{example}: {view.name}" if example else view.name
    gold = f" {_GOLD} marks the gold links." if view.links else ""
    column = '<th scope="col">probability' if extra else ""
    return (
        f'<table data-example="{escape(example)}" '
        f'data-view="{escape(view.name)}" data-first="{1 + extra}">\n'
        f"<caption>{escape(label)}. Rows: target words; columns: weights "
        f"on the source words.{gold}</caption>\n"
        f'<thead><tr><th scope="col">target{column}{head}</thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table>"
    )


def _number(value: float) -> str:
    """Three decimals, which is what the page needs and no more."""
    text = f"{value:.3f}"
    return text[0] if text.endswith(".000") else text


def _asset(name: str) -> str:
    """A file beside this module, without indentation and comment lines."""
    text = resources.files("s2s_lib").joinpath(name).read_text("utf-8")
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(
        line for line in lines if line and not line.startswith(("//", "/* "))
    )
