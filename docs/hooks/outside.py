"""README.md as it is shown outside the repository: on a package index, or by `pip show`.

There its relative links and pictures lead nowhere. With the repository's address they become absolute. Without one, a
link becomes its words with the file's path, and pictures are left out.
"""

from __future__ import annotations

import re

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)\s]+)\)")


def shown_outside(text: str, repository: str = "") -> str:
    """Return Markdown without relative links; ``repository`` is an address such as https://host/owner/name.

    >>> shown_outside("See [augment](docs/augment.md#gamma).")
    'See augment (docs/augment.md).'
    >>> shown_outside("See [augment](docs/augment.md#gamma).", "https://host/o/n")
    'See [augment](https://host/o/n/blob/main/docs/augment.md#gamma).'
    >>> shown_outside("![a sheet](docs/sheet.jpg)", "https://host/o/n/")
    '![a sheet](https://host/o/n/raw/main/docs/sheet.jpg)'
    """
    root = repository.rstrip("/")

    def turned(found: re.Match[str]) -> str:
        mark, words, target = found.groups()
        path = target.partition("#")[0]
        if root:
            return f"{mark}[{words}]({root}/{'raw' if mark else 'blob'}/main/{target})"
        return "" if mark else words if path in words else f"{words} ({path})"

    return re.sub(r"\n{3,}", "\n\n", _LINK.sub(turned, text))


def addresses(repository: str = "") -> dict[str, str]:
    """Return the package's ``[project.urls]``; none without an address.

    >>> addresses(), addresses("https://host/o/n")["Changelog"]
    ({}, 'https://host/o/n/blob/main/CHANGELOG.md')
    """
    root = repository.rstrip("/")
    pages = {
        "Source": "",
        "Documentation": "/blob/main/docs/index.md",
        "Changelog": "/blob/main/CHANGELOG.md",
        "Issues": "/issues",
    }
    return {name: root + page for name, page in pages.items()} if root else {}
