"""Open a page as a reader would, and note what went wrong."""

from contextlib import contextmanager
from dataclasses import dataclass, field

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

WIDTHS = {"wide": 1280, "phone": 390}
THEMES = ("light", "dark")
# Noise of the theme that harms nobody.
HARMLESS = (
    "Identifier 'THEBE_JS_URL' has already been declared",
    "Got invalid theme mode",
)
UNTYPESET = r"""() => {
  const walker = document.createTreeWalker(
    document.querySelector("article") ?? document.body, NodeFilter.SHOW_TEXT);
  const left = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest("script, style, pre, code")) continue;
    if (/\\\(|\\\[|\\begin\{/.test(node.data)) left.push(node.data);
  }
  return left.concat([...document.querySelectorAll("mjx-merror")]
    .map(node => node.textContent));
}"""
FAILED_FONTS = """() => [...document.fonts]
  .filter(font => font.status === "error").map(font => font.family)"""
# Colours are measured when they have changed, not on the way.
STILL = """addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = "* { transition: none !important; }";
  document.head.append(style);
})"""
# The colours of code are the same in every listing, and to measure them all
# takes half a minute. So one word of each class in each kind of listing keeps
# its colour, the others lose theirs, and listings without any are left out.
SAMPLE_LISTINGS = """() => {
  const kinds = new Set();
  const again = kind => kinds.size === kinds.add(kind).size;
  for (const listing of document.querySelectorAll("article .highlight")) {
    const kind = node => node === listing ? node.parentElement.className
      : `${kind(node.parentElement)} > ${node.className}`;
    const nodes = [listing, ...listing.querySelectorAll("span")];
    const repeated = nodes.filter(node => again(kind(node)));
    if (repeated.length === nodes.length)
      listing.classList.add("s2s-like-others");
    for (const node of repeated)
      if (node !== listing) node.replaceWith(...node.childNodes);
    listing.normalize();
  }
}"""
# Dropdowns that show no more when their button has been clicked.
CLOSED = """() =>
  [...document.querySelectorAll("article details, article .toggle")]
  .filter(dropdown => {
    if (dropdown.open) return false;
    const before = dropdown.getBoundingClientRect().height;
    dropdown.querySelector("summary, button.toggle-button").click();
    return dropdown.getBoundingClientRect().height <= before;
  }).map(dropdown => dropdown.outerHTML.slice(0, 120))"""
SIDEWAYS = """() => {
  const limit = document.documentElement.clientWidth;
  const wide = [...document.querySelectorAll("article *")].filter(node => {
    if (node.getBoundingClientRect().right <= limit + 1) return false;
    for (let up = node.parentElement; up; up = up.parentElement)
      if (["auto", "scroll", "hidden"].includes(
          getComputedStyle(up).overflowX)) return up.tagName === "BODY";
    return true;
  }).map(node => node.outerHTML.slice(0, 120));
  const page = document.documentElement.scrollWidth;
  return page > limit + 1 ? [`page ${page} > ${limit}`, ...wide] : [];
}"""


@dataclass
class Seen:
    """What a page did while it was looked at."""

    page: Page
    requests: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


@contextmanager
def opened(browser: Browser, address: str, path: str, width="wide"):
    """Open a page; every request to another host is blocked and noted."""
    size = {"width": WIDTHS[width], "height": 900}
    context = browser.new_context(viewport=size, color_scheme="light")
    context.add_init_script(STILL)
    page = context.new_page()
    seen = Seen(page)

    def note(message: str) -> None:
        if not any(known in message for known in HARMLESS):
            seen.messages.append(message)

    def guard(route):
        url = route.request.url
        if url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            seen.requests.append(url)
            route.abort()

    def answered(response):
        if response.status >= 400:
            seen.failures.append(f"{response.status} {response.url}")

    context.route("**/*", guard)
    page.on("console", lambda m: m.type == "error" and note(m.text))
    page.on("pageerror", lambda error: note(str(error)))
    page.on("response", answered)
    page.goto(address + path, wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.evaluate("() => document.fonts.ready.then(() => true)")
    yield seen
    context.close()


def set_theme(page: Page, theme: str) -> None:
    """Choose light or dark, as the button of the theme does."""
    page.evaluate(
        "theme => { const root = document.documentElement;"
        " root.dataset.theme = theme; root.dataset.mode = theme; }",
        theme,
    )


def accessibility_faults(page: Page) -> list[str]:
    """Give what axe-core finds against WCAG 2, levels A and AA."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
    # Without resultTypes all that is right comes back too, for minutes.
    options = {
        "runOnly": tags,
        "preload": False,
        "resultTypes": ["violations"],
    }
    page.evaluate(SAMPLE_LISTINGS)
    context = {"exclude": [[".s2s-like-others"]]}
    result = Axe().run(page, context=context, options=options).response
    return [
        f"{violation['id']}: {node['html'][:150]}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]
