"""Mend the built pages: no loads from elsewhere, valid roles.

The theme adds scripts for live code and for widgets that come from other
hosts. The book uses neither, and works without a network. Entries of the
bibliography get the role that their list asks for; theirs is deprecated.
``make book`` runs this after the build: ``python -m tools.site FOLDER``.
"""

import re
import sys
from pathlib import Path

# A script element that loads from another host, or one that prepares Thebe.
EXTERNAL = re.compile(
    r"<script\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>\s*</script>\s*"
    r"|<script\b[^>]*>(?:(?!</script>).)*THEBE_JS_URL(?:(?!</script>).)*"
    r"</script>\s*"
    r"|<script\b[^>]*\bsrc=[\"'][^\"']*sphinx-thebe\.js[^>]*>\s*</script>\s*",
    re.DOTALL,
)


def clean(page: str) -> str:
    """Give the page without scripts from other hosts, with valid roles."""
    page = page.replace('role="doc-biblioentry"', 'role="listitem"')
    return EXTERNAL.sub("", page)


def main() -> int:
    """Clean every page of a built site."""
    for path in Path(sys.argv[1]).rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        cleaned = clean(page)
        if cleaned != page:
            path.write_text(cleaned, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
