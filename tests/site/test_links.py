"""Links, pictures and loads, without a browser."""

import pytest

from tests.site.links import check


def test_the_site_has_no_dead_links_and_loads_nothing(site):
    assert check(site) == []


def test_the_site_carries_no_parked_packages(site):
    assert [path.name for path in site.glob(".*")] in ([], [".buildinfo"])


PAGE = '<html><body id="top">{}</body></html>'


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="gone.html">x</a>', "no file"),
        ('<a href="#gone">x</a>', "no anchor"),
        ('<a href="two.html#gone">x</a>', "no anchor"),
        ('<img src="https://example.org/a.png" alt="A picture">', "loads"),
        ('<img src="gone.png" alt="A picture">', "lacks"),
        ('<img src="data:," alt="../_images/12.png">', "has alt"),
        ('<img src="data:,">', "has alt None"),
        ('<script src="//example.org/a.js"></script>', "loads"),
        (
            '<link rel="stylesheet" href="https://example.org/a.css">',
            "loads",
        ),
    ],
)
def test_a_fault_is_found(tmp_path, body, fault):
    (tmp_path / "two.html").write_text(PAGE.format(""))
    (tmp_path / "one.html").write_text(PAGE.format(body))
    (found,) = check(tmp_path)
    assert fault in found


def test_good_links_are_left_alone(tmp_path):
    (tmp_path / "two.html").write_text(PAGE.format(""))
    body = '<a href="two.html#top">x</a> <a href="#top">y</a>'
    (tmp_path / "one.html").write_text(
        PAGE.format(body + '<a href="https://example.org">z</a>')
    )
    assert check(tmp_path) == []
