"""What a chapter hands from its code to its prose.

Prose never contains a measured number that was typed by hand. A cell gives
the number a name, ``glue("bleu", f"≈ {score:.1f}")``, and the text shows it
with the role ``{glue:text}`bleu` ``. The notebook shows nothing for it, and
the tests compare it as they compare printed text.
"""


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
