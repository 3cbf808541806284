"""The templates of all pages; names are escaped, and a missing variable is an error."""

from __future__ import annotations

from typing import Any

from bayeslmm.report.svg import clean


def fill(template: str, **parts: Any) -> str:
    """Render a template of this package with its parts; the same parts give the same text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bayeslmm.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clean"] = clean
    return environment.get_template(template).render(**parts)
