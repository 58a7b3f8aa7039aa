"""Runs the simulations that people asked for, one at a time, each in a process of its own with limits.

What is asked for stands in SQL, and so does what came out: a keeper that ends in the middle leaves a row that the
next one begins anew. The child process ends with its keeper, and knows neither the database nor Redis.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import redis
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from common.errors import Unavailable
from common.logs import get_logger
from common.names import SIMULATION_LOCK
from common.units import show_size
from master.context import MasterContext
from master.simulation import job as files
from master.simulation.job import Job, Progress, Summary
from master.simulation.models import Simulation, SimulationFile
from master.simulation.services import State

log = get_logger(__name__)

LOOK_EVERY_S = 1.0
# A lock that a process left behind holds the next one up for so long.
LOCK_S = 10.0
# One that ended its keeper, or whose keeper was ended, so often is not begun again.
MOST_TRIES = 2
END_S = 5.0
MOST_FILE_BYTES = 32 * 2**20
# What the child sees of our environment: no secret of the master's.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "TMPDIR")


@dataclass
class _Running:
    """A simulation whose process was begun."""

    id: str
    folder: Path
    process: subprocess.Popen[bytes]
    began: float  # by the clock that only goes forward
    told: Progress | None = None


class Keeper:
    """One per lifecycle process; of several only one is at work."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context
        # Made in one thread and held in another.
        self._lock = context.redis.lock(SIMULATION_LOCK, timeout=LOCK_S, blocking=False, thread_local=False)
        self._running: _Running | None = None
        self._is_new = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="simulations", daemon=True)

    def start(self) -> None:
        """Look now and then, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End what runs, which is begun anew by the next keeper."""
        self._stop.set()
        self._thread.join(END_S + LOOK_EVERY_S)

    def _loop(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self._round()
        self._give_up()
        try:
            if self._lock.owned():
                self._lock.release()
        except redis.RedisError as error:
            log.warning("the lock of simulations was not released", error=str(error))

    def _round(self) -> None:
        try:
            if self._is_mine():
                self.look()
            else:
                self._give_up()
        except (redis.RedisError, Unavailable) as error:
            log.warning("simulations not looked at", error=str(error))
        except Exception:
            log.exception("simulations not looked at")

    def _is_mine(self) -> bool:
        if self._lock.owned():
            return bool(self._lock.reacquire())
        return bool(self._lock.acquire())

    def _give_up(self) -> None:
        """Another keeper is at work, or none any more: what runs here is theirs to begin anew."""
        self._is_new = True
        if self._running is not None:
            self._end_process(self._running)
            self._running = None

    # --- a round -------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Go on with what runs, or begin with what waits. Raises Unavailable if SQL is away."""
        if self._is_new:
            self._take_over()
            self._is_new = False
        if self._running is None:
            self._begin()
        else:
            self._follow(self._running)

    def _take_over(self) -> None:
        """What another keeper left in the middle waits again, unless it was begun too often."""
        with self._context.database.write() as session:
            for item in session.scalars(select(Simulation).where(Simulation.state == State.RUNNING)):
                if item.tries < MOST_TRIES:
                    item.state, item.done_steps = State.WAITING, 0
                else:
                    _finish(
                        item,
                        State.FAILED,
                        f"The process that runs simulations ended {item.tries} times in the middle of it.",
                    )
        shutil.rmtree(self._context.paths.simulations, ignore_errors=True)

    def _begin(self) -> None:
        conf = self._context.settings
        with self._context.database.read() as session:
            waiting = select(Simulation.id).where(Simulation.state == State.WAITING)
            if session.scalar(waiting.limit(1)) is None:
                return
        with self._context.database.write() as session:
            item = session.scalar(
                select(Simulation)
                .where(Simulation.state == State.WAITING)
                .order_by(Simulation.created_at, Simulation.id)
                .limit(1)
                .with_for_update()
            )
            if item is None:
                return
            item.state, item.began_at, item.tries = State.RUNNING, time.time(), item.tries + 1
            name, trace = item.id, item.trace
            job = Job(
                scenario=item.scenario,
                settings=item.settings,
                policies=item.policies,
                seeds=item.seeds,
                first_seed=item.first_seed,
                memory_bytes=conf.simulation_memory_bytes,
                limit_s=conf.simulation_s,
            )
        folder = self._context.paths.simulations / name
        try:
            folder.mkdir(parents=True, mode=0o700)
            files.write(folder / files.JOB, job)
            if trace is not None:
                (folder / files.TRACE).write_text(trace, encoding="utf-8")
            self._running = _Running(name, folder, _start(folder), time.monotonic())
        except OSError as error:  # a full disk, say: nothing would ever end a row that says running
            self._note_failure(name, f"The master could not begin it: {error.strerror or error}.")
            shutil.rmtree(folder, ignore_errors=True)
            return
        log.info("simulation begun", simulation=name)

    def _follow(self, running: _Running) -> None:
        status = running.process.poll()
        if status is not None:
            self._collect(running, status)
        elif not self._is_wanted(running):
            self._forget(running)
        elif time.monotonic() - running.began > self._context.settings.simulation_s:
            self._fail(running, self._too_long())
        else:
            self._show_progress(running)

    def _is_wanted(self, running: _Running) -> bool:
        with self._context.database.read() as session:
            state = session.scalar(select(Simulation.state).where(Simulation.id == running.id))
        return state == State.RUNNING

    def _show_progress(self, running: _Running) -> None:
        progress: Progress | None = files.read(running.folder / files.PROGRESS, Progress)
        if progress is None or progress == running.told:
            return
        running.told = progress
        with self._context.database.write() as session:
            session.execute(
                update(Simulation)
                .where(Simulation.id == running.id)
                .values(done_steps=progress.done, steps=progress.of)
            )

    # --- the end -------------------------------------------------------------------------------------------

    def _collect(self, running: _Running, status: int) -> None:
        summary: Summary | None = files.read(running.folder / files.SUMMARY, Summary) if not status else None
        if summary is None:
            self._fail(running, self._why(running, status))
            return
        found = {path.name: path.read_bytes() for path in _results(running.folder)}
        with self._context.database.write() as session:
            item = session.get(Simulation, running.id, with_for_update=True)
            if item is not None and item.state == State.RUNNING:
                item.summary = summary.model_dump()
                item.done_steps = item.steps = max(1, item.steps)
                for name, content in found.items():
                    session.add(
                        SimulationFile(
                            simulation_id=running.id, name=name, size_bytes=len(content), content=content
                        )
                    )
                _finish(item, State.DONE)
            self._drop_oldest(session)
        log.info("simulation done", simulation=running.id, took_s=round(time.monotonic() - running.began, 1))
        self._forget(running)

    def _why(self, running: _Running, status: int) -> str:
        """Why there is no result: in the child's own words, or from how it ended."""
        told = running.folder / files.ERROR
        if told.exists():
            return told.read_text(encoding="utf-8")
        if status == -signal.SIGXCPU:
            return self._too_long()
        if status == -signal.SIGKILL:
            return "It was ended from outside, perhaps because the machine had no memory left."
        lines = (running.folder / "stderr").read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
        limit = show_size(self._context.settings.simulation_memory_bytes)
        return (
            f"It ended with status {status} and said: {last} A common cause is its limit of {limit} of memory "
            "(OPENRAAS_SIMULATION_MEMORY_BYTES)."
        )

    def _too_long(self) -> str:
        limit_s = self._context.settings.simulation_s
        return f"It took longer than {limit_s:.0f} s. Make it smaller, or set OPENRAAS_SIMULATION_S."

    def _fail(self, running: _Running, why: str) -> None:
        self._note_failure(running.id, why)
        self._forget(running)

    def _note_failure(self, name: str, why: str) -> None:
        with self._context.database.write() as session:
            item = session.get(Simulation, name, with_for_update=True)
            if item is not None and item.state == State.RUNNING:
                _finish(item, State.FAILED, why)
        log.warning("simulation failed", simulation=name, why=why)

    def _forget(self, running: _Running) -> None:
        self._end_process(running)
        self._running = None
        shutil.rmtree(running.folder, ignore_errors=True)

    @staticmethod
    def _end_process(running: _Running) -> None:
        if running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGKILL)  # it has nothing to save
        try:
            running.process.wait(END_S)
        except subprocess.TimeoutExpired:
            log.warning("the process of a simulation does not end", pid=running.process.pid)

    def _drop_oldest(self, session: Session) -> None:
        over = [state for state in State if state.is_over]
        old = (
            select(Simulation.id)
            .where(Simulation.state.in_(over))
            .order_by(Simulation.created_at.desc(), Simulation.id)
            .offset(self._context.settings.simulations_kept)
        )
        names = list(session.scalars(old))
        session.execute(delete(SimulationFile).where(SimulationFile.simulation_id.in_(names)))
        session.execute(delete(Simulation).where(Simulation.id.in_(names)))


def _start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # One thread each: a pool of them would take address space for cores that it is not to use.
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MPLCONFIGDIR": str(folder)}
    command = ("setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "master.simulation.child")
    with (folder / "stderr").open("wb") as errors:
        return subprocess.Popen(
            (*command, str(folder)),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )


def _results(folder: Path) -> list[Path]:
    """What people may get of the files in a folder."""
    named = [folder / name for name in (files.CSV, files.PARQUET, files.RESULT, files.REPORT)]
    found = [path for path in (*named, *sorted(folder.glob(files.PLOTS))) if path.is_file()]
    return [path for path in found if path.stat().st_size <= MOST_FILE_BYTES]


def _finish(item: Simulation, state: State, error: str | None = None) -> None:
    item.state, item.ended_at = state, time.time()
    item.error = None if error is None else error[:2000]
