"""What a way of access is: how a person uses an instance, as one value that manifest, wish and box all carry."""

from __future__ import annotations

from typing import ClassVar

from common.readiness import Readiness
from common.words import Frozen

# Below this the gateway itself answers on an instance's origin; applications never see these paths.
OWN = "/_openraas/"
# Where a container finds what its box made for it.
HANDED = "/run/openraas"


class Way(Frozen):
    """A way of access. Its fields beside `way` are what a manifest may say for it; the rest holds for every use.

    A way is one module in this package (or in a package of somebody else's) with a class that derives from this one.
    """

    # Its fields are the same everywhere, so that no part has to ask which way it is.
    way: str

    # What the person reads: `Open in a …`.
    title: ClassVar[str]
    # The manifest must name the port; `default_port` stands in for one that it may leave out.
    needs_port: ClassVar[bool] = False
    default_port: ClassVar[int | None] = None
    # When an instance counts as running, where the manifest does not say.
    readiness: ClassVar[Readiness] = Readiness()
    # The container's first process gets a terminal, so that a shell as the image's command stays.
    needs_terminal: ClassVar[bool] = False
    # The instance has done its work when its process ends; its exit code is kept.
    ends_by_itself: ClassVar[bool] = False
    # `module:Class` of `workers` that answers below `/_openraas/<way>/`; none: the gateway has no pages for it.
    server: ClassVar[str | None] = None
    # `module:function` of `workers` that is called with this way and a directory of the instance's own, and writes
    # there what the container needs; the container sees it, read-only, at HANDED. None: there is no such directory.
    hands_out: ClassVar[str | None] = None
    # Whether there is a screen of which a small picture can be taken.
    has_picture: ClassVar[bool] = False
    # Whether somebody may be let in who only looks on: the server has to keep his input away.
    can_be_watched: ClassVar[bool] = False

    @property
    def has_page(self) -> bool:
        """Whether a browser can open it at all."""
        return self.passes_on or self.server is not None

    @property
    def passes_on(self) -> bool:
        """Whether what is not the gateway's own goes to the instance's port, as HTTP and WebSocket."""
        return False

    @property
    def landing(self) -> str:
        """Where a browser begins on the instance's origin."""
        return "/" if self.server is None else f"{OWN}{self.way}/"
