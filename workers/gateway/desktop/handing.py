"""What a container needs to serve a screen: passwords, and how the screen begins."""

from __future__ import annotations

from pathlib import Path

from common.access.desktop import Desktop
from workers.gateway.desktop.passwords import FILE, Passwords

# Words for a shell: the image's start reads them.
SETTINGS = "screen"


def hand_out(way: Desktop, directory: Path) -> None:
    """Write both files for a new instance."""
    (directory / FILE).write_bytes(Passwords.make().obscured())
    (directory / SETTINGS).write_text(f"GEOMETRY={way.first_size}\nFRAME_RATE={way.frame_rate}\n")
