"""A griffe extension: docstrings as Markdown.

Doctests become code blocks, so that brackets in their results are not taken for links, and roles such as
``:class:`Name``` become the name as code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|data|meth|mod|attr):`~?([^`]+)`")
_DOCTEST = re.compile(r"((?:^[ ]*>>> .*\n?)(?:^[ ]*\S.*\n?)*)", re.MULTILINE)


class MarkdownDocstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Turn one object's docstring into Markdown."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    r"""Return a docstring with its doctests fenced and its roles as code.

    >>> print(as_markdown("Cut :data:`x`.\\n\\n>>> cut(2)\\n[(0, 2)]"))
    Cut `x`.
    <BLANKLINE>
    ```python
    >>> cut(2)
    [(0, 2)]
    ```
    """
    text = re.sub(r"``([^`]+)``", r"`\1`", _ROLE.sub(r"``\1``", text))
    return _DOCTEST.sub(lambda found: f"```python\n{found[1].rstrip()}\n```\n", text).rstrip()
