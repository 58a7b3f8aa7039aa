"""Scripts and styles that browsers get from the box itself: our own, and other people's packages.

Our own lie in `static/`. The packages are fetched once when a checkout is set up (`scripts/frontend.py`), lie in
`static/packages/<name>/`, are part of a wheel and of no commit.
"""

from __future__ import annotations

from pathlib import Path

from common.errors import Unavailable

STATIC = Path(__file__).with_name("static")
PACKAGES = STATIC / "packages"


def need(package: str) -> None:
    """Raises Unavailable if the package is not there."""
    if not (PACKAGES / package).is_dir():
        raise Unavailable(
            f"This box was installed without the browser package {package}.",
            remedy="In a checkout run: python scripts/frontend.py; else install the wheel again.",
        )
