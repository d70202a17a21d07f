"""Fill in this package's page templates; all text is escaped, and a name that a template lacks is an error."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("harmonygen.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def page(template: str, **values: Any) -> str:
    """Return the HTML of a template; only ``Markup`` among the values is taken as it is."""
    return _environment().get_template(template).render(**values)


def asset(name: str) -> Markup:
    """Return this package's own style sheet or script, to stand in a page as it is."""
    environment = _environment()
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])
