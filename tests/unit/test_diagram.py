"""Diagrams: what is drawn is what was asked for."""

import pytest
from matplotlib.colors import to_hex

from s2s_lib.plots import ROLES, diagram

NODES = {
    "x": (0, 0, "$x_1$", ""),
    "h": (0, 1, "$h_1$", "encoder"),
    "plus": (1, 1, "+", "decoder"),
}


def test_a_diagram_has_every_box_label_and_arrow():
    ax = diagram(NODES, [("x", "h"), ("h", "plus")])
    assert len(ax.patches) == len(NODES)
    labels = [text.get_text() for text in ax.texts]
    assert [label for label in labels if label] == ["$x_1$", "$h_1$", "+"]
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert [(a.xyann, a.xy) for a in arrows] == [
        ((0, 0), (0, 1)),
        ((0, 1), (1, 1)),
    ]


def test_a_frame_has_the_colour_of_its_role():
    ax = diagram(NODES, [])
    colours = [to_hex(patch.get_edgecolor()) for patch in ax.patches[1:]]
    assert colours == [ROLES["encoder"], ROLES["decoder"]]
    assert ax.patches[0].get_edgecolor()[3] == 0  # no role, no frame


def test_an_arrow_to_nowhere_is_an_error():
    with pytest.raises(KeyError, match="y"):
        diagram(NODES, [("x", "y")])
