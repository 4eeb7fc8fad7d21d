"""What is wrong with the links, pictures and loads of a built site."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src"}


def outside(address: str) -> bool:
    """Say whether the address leads to another host."""
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme in ("http", "https")


def parse(page: Path) -> BeautifulSoup:
    """Read a page."""
    return BeautifulSoup(page.read_text(encoding="utf-8"), "lxml")


def anchors(soup: BeautifulSoup) -> set[str]:
    """Give every name that a link to this page may end in."""
    named = {tag["id"] for tag in soup.find_all(id=True)}
    return named | {
        tag["name"] for tag in soup.find_all("a", attrs={"name": 1})
    }


def check(site: Path) -> list[str]:
    """Give the faults: dead files and anchors, bad alt texts, loads."""
    pages = {
        page: parse(page)
        for page in sorted(site.rglob("*.html"))
        if "_static" not in page.relative_to(site).parts
    }
    names = {page: anchors(soup) for page, soup in pages.items()}
    faults = []
    for page, soup in pages.items():
        where = page.relative_to(site)
        for tag, attribute in LOADS.items():
            for found in soup.find_all(tag, attrs={attribute: True}):
                if outside(found[attribute]):
                    faults.append(f"{where} loads {found[attribute]}")
                elif not found[attribute].startswith("data:"):
                    path = unquote(urlsplit(found[attribute]).path)
                    if not (page.parent / path).exists():
                        faults.append(f"{where} lacks {found[attribute]}")
        for found in soup.find_all("link", href=True):
            relation = found.get("rel") or []
            if outside(found["href"]) and "canonical" not in relation:
                faults.append(f"{where} loads {found['href']}")
        for image in soup.find_all("img"):
            alt = image.get("alt")
            if alt is None or alt.endswith((".png", ".svg", ".jpg")):
                faults.append(f"{where}: {image.get('src')} has alt {alt!r}")
        for link in soup.find_all("a", href=True):
            href = urlsplit(link["href"])
            if href.scheme or href.netloc:
                continue
            target = page
            if href.path:
                target = (page.parent / unquote(href.path)).resolve()
            if not target.exists():
                faults.append(f"{where} links to {link['href']}: no file")
            elif unquote(href.fragment) not in names.get(
                target, {unquote(href.fragment)}
            ) | {""}:
                faults.append(f"{where} links to {link['href']}: no anchor")
    return faults
