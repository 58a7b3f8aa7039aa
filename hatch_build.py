"""Compiles the translations of the pages, and looks that the browser packages are there: hatchling calls it for a
wheel and for `pip install --editable`.

`make setup` runs it as a program, so that a translation that somebody pulled or edited is in force.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TRANSLATIONS = Path(__file__).parent / "master/translations"
PACKAGES = Path(__file__).parent / "workers/gateway/static/packages"


def compile_translations(folder: Path = TRANSLATIONS) -> None:
    """Write `messages.mo` beside each `messages.po` that is newer."""
    for source in sorted(folder.glob("*/LC_MESSAGES/messages.po")):
        target = source.with_suffix(".mo")
        if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
            continue
        with source.open("rb") as text:
            catalogue = read_po(text, locale=source.parent.parent.name)
        with target.open("wb") as compiled:
            write_mo(compiled, catalogue)


def check_packages() -> None:
    """Raises FileNotFoundError for a wheel that would make a box whose terminals and desktops do not open."""
    if not (PACKAGES / ".lock").is_file():
        raise FileNotFoundError(f"{PACKAGES} is missing: run python scripts/frontend.py")


class CompileTranslations(BuildHookInterface[Any]):
    """The hook that `pyproject.toml` names."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Before anything is packed; an editable installation reads the packages from the checkout, later."""
        compile_translations()
        if version != "editable":
            check_packages()


if __name__ == "__main__":
    compile_translations()
