"""What is wrong with the links, pictures and loads of a built site."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from lxml.html import HtmlElement, HTMLParser, document_fromstring

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src"}


def outside(address: str) -> bool:
    """Say whether the address leads to another host."""
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme in ("http", "https")


def parse(page: Path) -> HtmlElement:
    """Read a page."""
    return document_fromstring(page.read_bytes(), HTMLParser(encoding="utf-8"))


def anchors(tree: HtmlElement) -> set[str]:
    """Give every name that a link to this page may end in."""
    return {*tree.xpath("//@id"), *tree.xpath("//a/@name")}


def check(site: Path) -> list[str]:
    """Give the faults: dead files and anchors, bad alt texts, loads."""
    pages = {
        page: parse(page)
        for page in sorted(site.rglob("*.html"))
        if "_static" not in page.relative_to(site).parts
    }
    names = {page: anchors(tree) for page, tree in pages.items()}
    faults = []
    for page, tree in pages.items():
        where = page.relative_to(site)
        for tag, attribute in LOADS.items():
            for found in tree.xpath(f"//{tag}/@{attribute}"):
                if outside(found):
                    faults.append(f"{where} loads {found}")
                elif not found.startswith("data:"):
                    path = unquote(urlsplit(found).path)
                    if not (page.parent / path).exists():
                        faults.append(f"{where} lacks {found}")
        for found in tree.xpath("//link[@href]"):
            relation = found.get("rel", "").split()
            if outside(found.get("href")) and "canonical" not in relation:
                faults.append(f"{where} loads {found.get('href')}")
        for image in tree.xpath("//img"):
            alt = image.get("alt")
            if alt is None or alt.endswith((".png", ".svg", ".jpg")):
                faults.append(f"{where}: {image.get('src')} has alt {alt!r}")
        for link in tree.xpath("//a/@href"):
            href = urlsplit(link)
            if href.scheme or href.netloc:
                continue
            target = page
            if href.path:
                target = (page.parent / unquote(href.path)).resolve()
            if not target.exists():
                faults.append(f"{where} links to {link}: no file")
            elif unquote(href.fragment) not in names.get(
                target, {unquote(href.fragment)}
            ) | {""}:
                faults.append(f"{where} links to {link}: no anchor")
    return faults
