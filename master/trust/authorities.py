"""The authorities of this installation, and how one takes over from another.

`rotate` makes a successor, which signs boxes from then on; both are trusted, and boxes renew their certificates by
themselves. `retire` gives the successor the office once every box has a certificate of it: the master's own
certificate is of the new authority from the next start on, and only then the old one is trusted no more.
A box that was away all that time has to join anew.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from common.errors import Conflict
from common.files import write_atomically
from common.trust import Trust
from master.boxes.authority import Authority, create
from master.paths import MasterPaths

# Boxes read within this time that there is a successor; before it, none has to show a certificate of it.
KNOWN_AFTER_S = 30.0


@dataclass(frozen=True)
class Authorities:
    """The one in office signs the master's own certificate, and join tokens name it."""

    in_office: Authority
    successor: Authority | None
    trusted_pem: str

    @classmethod
    def load(cls, paths: MasterPaths) -> Authorities:
        """Those under the state directory; the first is made on first use."""
        with _locked(paths):
            return _load(paths)

    def issuing(self, now: float) -> Authority:
        """The one that signs boxes now."""
        if self.successor is None or now < self.renew_from:
            return self.in_office
        return self.successor

    @property
    def renew_from(self) -> float:
        """From when on boxes have certificates of the successor (Unix time); 0 without one."""
        return 0.0 if self.successor is None else self.successor.made_at + KNOWN_AFTER_S

    def trust(self, shut_out: Iterable[str], now: float) -> Trust:
        """What boxes are told."""
        return Trust(
            at=now,
            authorities=self.trusted_pem,
            issuing=(self.successor or self.in_office).pem,
            renew_from=self.renew_from,
            shut_out=frozenset(shut_out),
        )


def rotate(paths: MasterPaths) -> Authorities:
    """Make a successor; raises Conflict while there is one."""
    with _locked(paths):
        if _load(paths).successor is not None:
            raise Conflict(
                "An authority is being replaced already.",
                remedy="End that first: openraas authority retire. openraas authority show tells how far it is.",
            )
        create(paths.next_authority_key, paths.next_authority)
        return _load(paths)


def retire(paths: MasterPaths) -> Authorities:
    """Give the successor the office; raises Conflict if there is none. The old one is trusted until `settle`."""
    with _locked(paths):
        if _load(paths).successor is None:
            raise Conflict("There is no successor.", remedy="Make one first: openraas authority rotate.")
        write_atomically(paths.last_authority, paths.authority.read_bytes())
        _succeed(paths)
        return _load(paths)


def settle(paths: MasterPaths, listen: str) -> Authorities:
    """At the start of the master, before anything listens: its certificate is of the authority in office."""
    with _locked(paths):
        _load(paths).in_office.ensure_master(paths, listen)
        paths.last_authority.unlink(missing_ok=True)
        return _load(paths)


def _load(paths: MasterPaths) -> Authorities:
    if paths.next_authority.exists() and not paths.next_authority_key.exists():
        _succeed(paths)  # it was cut off in between
    if not (paths.authority_key.exists() and paths.authority.exists()):
        create(paths.authority_key, paths.authority)
    in_office = Authority.load(paths.authority_key, paths.authority)
    successor = None
    if paths.next_authority.exists():
        successor = Authority.load(paths.next_authority_key, paths.next_authority)
    last = paths.last_authority.read_text() if paths.last_authority.exists() else ""
    trusted = in_office.pem + (successor.pem if successor else "") + last
    if not paths.trusted.exists() or paths.trusted.read_text() != trusted:
        write_atomically(paths.trusted, trusted)
    return Authorities(in_office, successor, trusted)


def _succeed(paths: MasterPaths) -> None:
    """Each step can be done again: the certificate moves last."""
    if paths.next_authority_key.exists():
        os.replace(paths.next_authority_key, paths.authority_key)
    os.replace(paths.next_authority, paths.authority)


@contextmanager
def _locked(paths: MasterPaths) -> Iterator[None]:
    """Several processes may start at once; all have to end up with the same files."""
    paths.secrets.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (paths.secrets / "ca.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
