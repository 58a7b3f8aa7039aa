"""Reads timelines into a scheduler's history: on start the last ones, then what is new, a few seconds behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session, aliased

from common.words import BoxKind, InstanceState, Role
from master.boxes.models import Box
from master.db.session import Database
from master.deployments.models import Instance, TimelineRow
from master.history.predicted import PREDICTED
from master.scheduling.fleet import Fleet
from master.scheduling.holders import NOBODY
from master.scheduling.prediction import History, Kept

# Rows that are read on start, and at most at once afterwards.
ROWS_ON_START = 20_000
ROWS_AT_ONCE = 2_000
# How often is looked for new rows, and how often everything is told anew: distrust fades with time.
EVERY_S = 2.0
EVERYTHING_EVERY_S = 300.0
MOST_STARTING = 5_000
# Between the first step that needs all layers and running.
LAUNCH_STEPS = frozenset({"create", "launch", "ready"})
# It was there already when somebody came: that says nothing of what a launch takes.
WAKE_STEP = "wake"
FILES_STEPS = frozenset({"export", "mount"})
EXPORT_FAILED = "export-failed"
# Whose failure it is, by the reason that a box gives. Of the others (no room, a bad image, a refusal) it is nobody's.
_BOX_FAILED = frozenset({"engine", "interrupted"})
# These may be the application's own fault: the box is blamed only if the image has come up somewhere.
_PERHAPS_FAILED = frozenset({"not-ready", "exited"})
STARTING = (InstanceState.PLACED.value, InstanceState.PREPARING.value)


@dataclass
class _Start:
    """What is known of a start that is under way."""

    fetched_bytes: int = 0
    launch_s: float = 0.0
    files_s: float = 0.0
    was_warm: bool = False
    filestores: set[str] = field(default_factory=set)
    runs: bool = False


class HistoryReader:
    """One per scheduler process; not for several threads at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._history = History()
        self._starts: Kept[tuple[str, int], _Start] = Kept(MOST_STARTING, _Start)
        self._lost_at: dict[str, float] = {}
        self._last: int | None = None
        self._boxes = 0
        self._read_at = self._told_at = float("-inf")
        self._backlogs: list[tuple[str, int, list[str]]] = []

    def tell(self, fleet: Fleet) -> None:
        """Let a fleet expect what history says."""
        now, anew = time.monotonic(), len(fleet) != self._boxes
        self._boxes = len(fleet)
        if now - self._read_at >= EVERY_S:
            with self._database.read() as session:
                self._read(session)
            self._read_at = now
            self._show_backlogs(fleet)
        elif anew:
            self._show_backlogs(fleet)
        everything = anew or now - self._told_at >= EVERYTHING_EVERY_S
        self._history.tell(fleet, time.time(), everything=everything)
        if everything:
            self._told_at = now

    def _read(self, session: Session) -> None:
        if self._last is None:
            newest = session.scalar(select(func.max(TimelineRow.id))) or 0
            self._last = max(0, newest - ROWS_ON_START)
        while rows := self._next(session, self._last):
            for row in rows:
                self._learn(row)
                self._last = row.id
            if len(rows) < ROWS_AT_ONCE:
                break
        self._read_losses(session)
        self._backlogs = list(_backlogs(session))

    @staticmethod
    def _next(session: Session, last: int) -> list[Row[Any]]:
        statement = (
            select(
                TimelineRow.id,
                TimelineRow.instance_id,
                TimelineRow.generation,
                TimelineRow.at,
                TimelineRow.step,
                TimelineRow.box_id,
                TimelineRow.took_s,
                TimelineRow.size_bytes,
                TimelineRow.sources,
                TimelineRow.reason,
                Instance.variant_digest,
                Instance.image_digest,
                Instance.depositories,
                Box.kind,
            )
            .join(Instance, Instance.id == TimelineRow.instance_id)
            .join(Box, Box.id == TimelineRow.box_id)
            .where(TimelineRow.id > last)
            .order_by(TimelineRow.id)
            .limit(ROWS_AT_ONCE)
        )
        return list(session.execute(statement))

    def _learn(self, row: Row[Any]) -> None:
        start = self._starts.touch((row.instance_id, row.generation))
        took_s = row.took_s or 0.0
        if row.step == "fetch":
            start.fetched_bytes = row.size_bytes or 0
            self._history.fetched(row.box_id, row.size_bytes or 0, took_s, row.sources)
            for source in row.sources:
                self._history.did_well(source, Role.DEPOSITORY, row.at)
        elif row.step == "unpack":
            self._history.unpacked(row.size_bytes or 0, took_s, start.fetched_bytes)
        elif row.step in LAUNCH_STEPS:
            start.launch_s += took_s
        elif row.step == WAKE_STEP:
            start.was_warm = True
        elif row.step in FILES_STEPS:
            start.files_s += took_s
            if row.step == "export":
                start.filestores.add(row.box_id)
        elif row.step == "running":
            self._started(start, row)
        elif row.reason:
            self._failed(start, row)

    def _started(self, start: _Start, row: Row[Any]) -> None:
        self._history.did_well(row.box_id, Role.COMPUTE, row.at)
        for filestore in start.filestores:
            self._history.did_well(filestore, Role.FILESTORE, row.at)
        image = row.variant_digest or row.image_digest
        self._history.has_unpacked(row.box_id, image)
        if start.launch_s and not start.was_warm:
            self._history.launched(image, BoxKind(row.kind), start.launch_s)
        if start.files_s:
            self._history.mounted(start.files_s)
        # A box that comes back may report that it runs a second time.
        start.launch_s = start.files_s = 0.0
        start.runs = True

    def _failed(self, start: _Start, row: Row[Any]) -> None:
        """Whoever failed it is trusted less: the box that was to run it, its filestores, or its depositories."""
        failed, at = self._history.failed, row.at
        if row.step == EXPORT_FAILED:
            failed(row.box_id, Role.FILESTORE, at)
        elif row.reason == "no-mount":
            for filestore in start.filestores:
                failed(filestore, Role.FILESTORE, at)
        elif row.reason == "no-source":
            for source in {name for names in row.depositories.values() for name in names} - {row.box_id}:
                failed(source, Role.DEPOSITORY, at)
        elif row.reason in _BOX_FAILED or (
            # What ends by itself once it ran says nothing of its box.
            row.reason in _PERHAPS_FAILED
            and not start.runs
            and self._history.has_come_up(row.variant_digest or row.image_digest)
        ):
            failed(row.box_id, Role.COMPUTE, at)

    def _read_losses(self, session: Session) -> None:
        """A box that was lost failed in all that it does."""
        lost = session.execute(select(Box.id, Box.roles, Box.lost_at).where(Box.lost_at.is_not(None)))
        for box, roles, lost_at in lost:
            if lost_at is None or self._lost_at.get(box) == lost_at:
                continue
            self._lost_at[box] = lost_at
            for role in roles:
                self._history.failed(box, Role(role), lost_at)

    def _show_backlogs(self, fleet: Fleet) -> None:
        """What boxes still fetch, and from whom: of every start that is under way what its placement said."""
        fleet.set_backlogs(0.0)
        for box, missing_bytes, sources in self._backlogs:
            if (row := fleet.row_of.get(box)) is not None:
                rows = fleet.rows_of(sources)
                fleet.begin_fetch(row, missing_bytes, rows if len(rows) else NOBODY)


def _backlogs(session: Session) -> Iterator[tuple[str, int, list[str]]]:
    """Of starts under way whose layers are not there yet: the box, the bytes, and who is asked for them."""
    done = aliased(TimelineRow)
    fetched = (
        select(done.id)
        .where(done.instance_id == Instance.id, done.generation == Instance.generation, done.step == "fetch")
        .exists()
    )
    statement = (
        select(Instance.box_id, TimelineRow.size_bytes, Instance.depositories)
        .join(TimelineRow, TimelineRow.instance_id == Instance.id)
        .where(
            Instance.state.in_(STARTING),
            TimelineRow.generation == Instance.generation,
            TimelineRow.step == PREDICTED,
            TimelineRow.size_bytes > 0,
            ~fetched,
        )
    )
    for box, missing_bytes, depositories in session.execute(statement):
        yield box, missing_bytes, sorted({name for names in depositories.values() for name in names} - {box})
