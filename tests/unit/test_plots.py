"""Pictures: what is drawn is what was given."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from s2s_lib import plots


@pytest.fixture(autouse=True)
def no_window():
    with mpl.rc_context({"backend": "agg"}):
        yield
    plt.close("all")


def rendered(ax):
    """Draw it: some mistakes show only then."""
    ax.figure.canvas.draw()
    return ax


def labels(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def test_curves_draw_their_values():
    ax = plots.curves([1, 2, 4], {"a": [3, 1, 2], "b": [0, 0, 5]}, "x", "y")
    assert [line.get_ydata().tolist() for line in rendered(ax).lines] == [
        [3, 1, 2],
        [0, 0, 5],
    ]
    assert ax.lines[0].get_xdata().tolist() == [1, 2, 4]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["a", "b"]
    assert plots.curves([1], {"a": [1]}, "x", "y").get_legend() is None


def test_seeds_become_a_mean_and_a_band():
    rows = [[1.0, 2.0], [3.0, 8.0], [2.0, 2.0]]
    ax = rendered(plots.curves([0, 1], {"a": rows}, "x", "y"))
    assert ax.lines[0].get_ydata().tolist() == [2.0, 4.0]
    band = ax.collections[0].get_paths()[0].vertices
    assert sorted({tuple(v) for v in band.tolist()}) == [
        (0.0, 1.0),
        (0.0, 3.0),
        (1.0, 2.0),
        (1.0, 8.0),
    ]


def test_series_differ_in_more_than_colour():
    series = {str(i): [i, i] for i in range(7)}
    ax = plots.curves([0, 1], series, "x", "y")
    for looks in (
        {line.get_color() for line in ax.lines},
        {line.get_marker() for line in ax.lines},
        {repr(line._unscaled_dash_pattern) for line in ax.lines},
    ):
        assert len(looks) == 7
    assert set(plots.ROLES.values()) == {line.get_color() for line in ax.lines}


def test_a_series_of_another_length_is_named():
    with pytest.raises(ValueError, match="'b' has 2 values for 3"):
        plots.curves([1, 2, 3], {"a": [1, 2, 3], "b": [1, 2]}, "x", "y")


def test_length_curve_names_its_buckets_and_starts_at_zero():
    buckets = ((1, 10), (11, 20), (21, 30))
    ax = rendered(plots.length_curve(buckets, {"m": [30.0, None, 10.0]}))
    assert labels(ax.xaxis) == ["1–10", "11–20", "21–30"]
    np.testing.assert_array_equal(
        ax.lines[0].get_ydata(), [30.0, np.nan, 10.0]
    )
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylabel() == "BLEU"


def test_learning_curve_draws_a_line_per_seed_and_names_it_once():
    history = [{"step": 0, "loss": 3.0}, {"step": 10, "loss": 1.0}]
    other = [{"step": 0, "loss": 2.0}, {"step": 5, "loss": 1.5}]
    histories = {"a": [history, other], "b": [history]}
    ax = rendered(plots.learning_curve(histories, "loss", "nats"))
    assert [list(line.get_ydata()) for line in ax.lines] == [
        [3.0, 1.0],
        [2.0, 1.5],
        [3.0, 1.0],
    ]
    assert list(ax.lines[1].get_xdata()) == [0, 5]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["a", "b"]
    assert ax.lines[0].get_color() == ax.lines[1].get_color()
    assert ax.lines[0].get_color() != ax.lines[2].get_color()


def test_heat_map_has_target_rows_and_source_columns():
    weights = np.array([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])
    source, target = ["the", "the", "cat"], ["le", "chat"]
    ax = rendered(
        plots.heat_map(
            weights,
            source,
            target,
            boxes=frozenset({(2, 0)}),
            faint_boxes=frozenset({(0, 1), (1, 1)}),
        )
    )
    image = ax.images[0]
    np.testing.assert_array_equal(image.get_array(), weights)
    assert image.get_clim() == (0, 1)
    assert labels(ax.xaxis) == source
    assert labels(ax.yaxis) == target
    # Row 0 is at the top, as a text is read.
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    centres = {
        (box.get_x() + 0.5, box.get_y() + 0.5): box.get_linestyle()
        for box in ax.patches
    }
    full, dotted = centres.pop((2.0, 0.0)), set(centres.values())
    assert set(centres) == {(0.0, 1.0), (1.0, 1.0)}
    assert dotted != {full}
    assert len(dotted) == 1


def test_heat_map_refuses_the_transposed_weights():
    with pytest.raises(ValueError, match=r"\(3, 2\); 2 target rows and 3"):
        plots.heat_map(np.zeros((3, 2)), ["a", "b", "c"], ["x", "y"])


def test_alignment_links_words_and_tells_sure_from_possible():
    source, target = ("I", "see"), ("je", "vois", "!")
    sure = frozenset({(0, 0), (1, 1)})
    possible = sure | {(1, 2)}
    ax = rendered(plots.alignment(source, target, sure, possible))
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert set(places) == {*source, *target}
    drawn = {
        tuple(
            min(
                places,
                key=lambda w: abs(places[w][0] - x) + abs(places[w][1] - y),
            )
            for x, y in line.get_xydata()
        ): line.get_linestyle()
        for line in ax.lines
    }
    assert drawn == {
        ("I", "je"): "-",
        ("see", "vois"): "-",
        ("see", "!"): "--",
    }
    assert len(ax.lines) == 3
    xs = [places[word][0] for word in target]
    assert xs == sorted(xs)


def test_alignment_takes_the_links_of_a_generated_pair():
    from s2s_lib.grammar import generate

    pair = generate(1, seed=3)[0]
    ax = plots.alignment(pair.source, pair.target, pair.sure, pair.possible)
    assert len(ax.lines) == len(pair.possible)


def test_bars_write_their_values():
    ax = rendered(plots.bars({"a": 12.345, "b": 0.5}, "BLEU"))
    assert [bar.get_height() for bar in ax.patches] == [12.345, 0.5]
    assert [text.get_text() for text in ax.texts] == ["12.3", "0.5"]
    assert labels(ax.xaxis) == ["a", "b"]
    assert ax.get_ylabel() == "BLEU"


def test_every_function_draws_where_it_is_told():
    calls = [
        lambda ax: plots.curves([1], {"a": [1]}, "x", "y", ax=ax),
        lambda ax: plots.length_curve([(1, 2)], {"a": [1]}, ax=ax),
        lambda ax: plots.learning_curve(
            {"a": [[{"step": 0, "loss": 1.0}]]}, "loss", "y", ax=ax
        ),
        lambda ax: plots.heat_map([[1.0]], ["a"], ["b"], ax=ax),
        lambda ax: plots.alignment(["a"], ["b"], [(0, 0)], ax=ax),
        lambda ax: plots.bars({"a": 1.0}, "y", ax=ax),
    ]
    for call in calls:
        ax = plots.new_axes()
        number = len(plt.get_fignums())
        assert call(ax) is ax
        assert len(plt.get_fignums()) == number


def test_role_colours_can_be_read_on_white():
    """A contrast of 4.5 to 1, as WCAG asks of text."""

    def linear(channel):
        low = channel <= 0.04045
        return channel / 12.92 if low else ((channel + 0.055) / 1.055) ** 2.4

    for role, colour in plots.ROLES.items():
        red, green, blue = map(linear, mpl.colors.to_rgb(colour))
        luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        assert 1.05 / (luminance + 0.05) >= 4.5, role
