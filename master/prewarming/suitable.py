"""Which applications can be prewarmed: those where all that is a person's own comes at the end."""

from __future__ import annotations

from common.errors import BadInput, OpenRaaSError
from common.words import MountMode
from master.catalogue.manifest import FilledService, Manifest, check_options, fill


class NotSuitable(BadInput):
    """An application whose instances cannot wait for an owner."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"{name} cannot be prewarmed: {why}.",
            field="application",
            remedy="See docs/manifest.md, prewarm.",
        )


def suited(manifest: Manifest) -> FilledService:
    """Its one service with default options. Raises NotSuitable."""
    filled = None
    try:
        plain, _ = check_options(manifest, {})
        (filled,) = fill(manifest, plain).values()
    except OpenRaaSError as error:
        raise NotSuitable(manifest.name, "an option has no default") from error
    except ValueError as error:
        raise NotSuitable(manifest.name, "it has several services") from error
    if filled.spec.prewarm is None:
        raise NotSuitable(manifest.name, "its manifest does not say how (key prewarm)")
    if filled.instances != 1:
        raise NotSuitable(manifest.name, "it has several instances")
    return filled


def is_default(manifest: Manifest, options: dict[str, object]) -> bool:
    """Whether these are the options of one who changed nothing."""
    try:
        plain, _ = check_options(manifest, {})
    except OpenRaaSError:
        return False
    return plain == options


def targets_of(filled: FilledService) -> list[tuple[str, MountMode]]:
    """Where files appear in its container, and how."""
    targets = [(item.target, MountMode.READ_ONLY) for item in filled.filesets]
    return [*targets, (filled.home, MountMode.READ_WRITE)] if filled.home else targets
