"""What the documentation site has beside the pages of docs/: made from the code when the site is built.

- ``commands/``: one page per verb, from the settings that the command line itself is made from
- ``api/``: one page per package, from the docstrings
- ``recipes.md``, and copies of the change log, the figures and the starter's model card

Links from a page to a file outside docs/ are turned to these pages. A file that has no page is shown by its path.
"""

from __future__ import annotations

import html
import inspect
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "cli")]

COPIES = {
    "changelog.md": "CHANGELOG.md",
    "figures.md": "benchmarks/RESULTS.md",
    "starter.md": "harmonygen/assets/starter/README.md",
    "sample-photos.md": "harmonygen/assets/sample/CREDITS.md",
    "parity-goldens.md": "tests/assets/parity/README.md",
}
"""Pages that are files from elsewhere in the repository."""
_PAGE_OF = {source: page for page, source in COPIES.items()}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages that are made here into the navigation."""
    made = [address for address, _ in _made()]
    for entry in config.nav or []:
        for name, place in entry.items():
            if isinstance(place, str) and place.endswith("/"):
                entry[name] = [address for address in made if address.startswith(place)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    for address, text in _made():
        files.append(File.generated(config, address, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the page's links to files outside docs/ to pages of the site."""
    address = page.file.src_uri
    source = COPIES.get(address, f"docs/{address}")
    return _LINK.sub(lambda found: _relinked(found, source, address), markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Name the theme's search dialog, for those who cannot see it."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def _relinked(found: re.Match[str], source: str, address: str) -> str:
    mark, words, target = found.groups()
    path, hash_, anchor = target.partition("#")
    if "://" in target or target.startswith("mailto:") or not path:
        return found[0]
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if whole.startswith("docs/") and (ROOT / whole).is_dir():
        return f"{words} (`{whole}`)"
    if whole.startswith("docs/"):
        place = whole.removeprefix("docs/")
    elif whole in _PAGE_OF:
        place = _PAGE_OF[whole]
    elif whole.startswith("harmonygen/") and whole.endswith(".py"):
        module = whole.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        place, hash_, anchor = _api_page(module), "#", module
    elif (ROOT / whole).exists():
        return words if whole in words else f"{words} (`{whole}`)"
    else:
        return found[0]
    return f"{mark}[{words}]({posixpath.relpath(place, posixpath.dirname(address) or '.')}{hash_}{anchor})"


def _made() -> Iterator[tuple[str, str]]:
    yield from ((page, (ROOT / source).read_text(encoding="utf-8")) for page, source in COPIES.items())
    yield from _commands()
    yield from _api()
    yield "recipes.md", _recipes()


# Commands


def _commands() -> Iterator[tuple[str, str]]:
    from harmonygen_cli.main import VERBS

    rows = "\n".join(f"| [`{verb}`]({verb}.md) | {summary} |" for verb, summary in VERBS.items())
    yield "commands/index.md", f"# Commands\n\n{_ABOUT_COMMANDS}\n\n| command | what it does |\n|---|---|\n{rows}\n"
    yield from ((f"commands/{verb}.md", _verb_page(verb)) for verb in VERBS)


_ABOUT_COMMANDS = """Every command has `--help`. An option that is not typed has the default of its row.
Settings without an option are written as `key=value` words, in any command, or into a recipe."""


def _verb_page(verb: str) -> str:
    from harmonygen_cli.main import door, verb_module

    command: Any = typer.main.get_command(door([verb]))
    command = command.commands[verb]
    parts = [f"# {verb}", *_command(command)]
    for each in getattr(command, "commands", {}).values():
        parts += [f"## {verb} {each.name}", *_command(each)]
    kind = getattr(getattr(verb_module(verb), verb.replace("-", "_"), None), "kind", None)
    if kind is not None and (rows := list(_settings(kind, ""))):
        parts += ["## All settings", _ABOUT_SETTINGS, _table(("setting", "meaning", "default"), rows)]
    return "\n\n".join(parts) + "\n"


_ABOUT_SETTINGS = "By their names in a recipe, and as `key=value` words on the command line."


def _command(command: Any) -> Iterator[str]:
    yield _escaped(inspect.cleandoc(command.help or ""))
    rows = []
    for parameter in command.params:
        words = _escaped(getattr(parameter, "help", None) or "")
        if parameter.param_type_name == "argument":
            rows.append((_code(parameter.metavar or (parameter.name or "").upper()), words))
        else:
            value = f" {parameter.metavar}" if parameter.metavar else ""
            rows.append((_code(", ".join((*parameter.opts, *parameter.secondary_opts)) + value), words))
    if rows:
        yield _table(("option", "meaning"), rows)


def _settings(kind: Any, above: str) -> Iterator[tuple[str, str, str]]:
    from harmonygen.settings import Settings
    from harmonygen_cli.from_settings import _element, shown_default

    for name, field in kind.model_fields.items():
        element = _element(field.annotation)
        if isinstance(element, type) and issubclass(element, Settings):
            yield from _settings(element, f"{above}{name}.")
        else:
            yield _code(above + name), _escaped(field.description or ""), _code(shown_default(field))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *(tuple(_cell(cell) for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "&#124;").replace("\n", " ")


def _code(text: str) -> str:
    """Return code that may hold a bar: between backquotes a table's cell would end there."""
    return f"<code>{html.escape(text).replace('[', '&#91;')}</code>"


def _escaped(text: str) -> str:
    """Keep ``<...>`` in words from being read as HTML; what is between backquotes is left as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


# API


def _packages() -> Iterator[tuple[str, list[str]]]:
    """Yield each package with its public modules; the root's own modules come first, as ``harmonygen``."""
    root = ROOT / "harmonygen"
    packages = (path.parent for path in root.rglob("__init__.py"))
    for folder in [root, *sorted(path for path in packages if path != root)]:
        package = ".".join(folder.relative_to(ROOT).parts)
        modules = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
        yield package, [f"{package}.{module}" for module in modules]


def _api_page(module: str) -> str:
    is_package = (ROOT / module.replace(".", "/") / "__init__.py").is_file()
    return f"api/{module if is_package else module.rpartition('.')[0]}.md"


def _api() -> Iterator[tuple[str, str]]:
    packages = dict(_packages())
    listed = "\n".join(f"- [`{package}`]({package}.md)" for package in packages)
    yield "api/index.md", f"# Python API\n\n{_ABOUT_API}\n\n{listed}\n"
    for package, modules in packages.items():
        text = "\n\n".join(f"::: {name}" for name in (package, *modules))
        yield f"api/{package}.md", f"# {package}\n\n{text}\n"


_ABOUT_API = """Start with `harmonygen.InverseHarmonizer`, `harmonygen.HarmonyClassifier` and `harmonygen.Harmonizer`
([`harmonygen.api`](harmonygen.md#harmonygen.api)) and with [`harmonygen.metrics`](harmonygen.md#harmonygen.metrics).
Each command is one function: its settings are in the `settings` module of the package that has the command's name.
[Architecture](../architecture.md) shows how the packages lie above each other."""


# Recipes


def _recipes() -> str:
    from harmonygen import recipes

    parts = ["# Recipes", _ABOUT_RECIPES]
    for name in recipes.names():
        parts += [
            f"## {name}",
            recipes.summary(name),
            f"```toml\n{recipes.find(name).read_text(encoding='utf-8').strip()}\n```",
        ]
    return "\n\n".join(parts) + "\n"


_ABOUT_RECIPES = """A recipe is a TOML file of settings. `harmonygen recipes ls` lists the shipped ones.
`harmonygen recipes cp NAME .` copies one to change it. Every command takes one by name
or path: `--recipe starter/inverse`."""
