"""Amounts, times and steps in words for people, in the language of the page."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_time
from babel.numbers import format_decimal
from flask_babel import get_locale, gettext, ngettext
from flask_babel import lazy_gettext as _l

from common.units import show_rate, show_size

STEPS = {
    "requested": _l("Asked for"),
    "queued": _l("Waiting for room"),
    "predicted": _l("Start predicted"),
    "placed": _l("Place found"),
    "preparing": _l("Box begins"),
    "offer": _l("Layers offered"),
    "fetch": _l("Layers fetched"),
    "unpack": _l("Layers unpacked"),
    "export": _l("Files shared"),
    "network": _l("Network made"),
    "mount": _l("Files mounted"),
    "create": _l("Container made"),
    "launch": _l("Container started"),
    "wake": _l("Ready container handed over"),
    "ending": _l("Lease ends soon"),
    "extended": _l("Lease extended"),
    "kept": _l("Kept by an operator"),
    "joined": _l("Somebody joined"),
    "looked-at": _l("Somebody looks on"),
    "ready": _l("First answer"),
    "running": _l("Running"),
    "stopping": _l("Stopping"),
    "stop": _l("Container ended"),
    "unmount": _l("Files unmounted"),
    "end": _l("Files closed"),
    "stopped": _l("Stopped"),
    "failed": _l("Failed"),
    "lost": _l("Box lost"),
}
STATES = {
    "requested": _l("requested"),
    "queued": _l("queued"),
    "placed": _l("placed"),
    "preparing": _l("preparing"),
    "running": _l("running"),
    "stopping": _l("stopping"),
    "stopped": _l("stopped"),
    "failed": _l("failed"),
    "lost": _l("lost"),
    "open": _l("open"),
    "closed": _l("closed"),
    "cordoned": _l("cordoned"),
    "full": _l("full"),
    "paused": _l("paused"),
    "silent": _l("silent"),
}
ROLES = {"compute": _l("compute"), "filestore": _l("filestore"), "depository": _l("depository")}
PEOPLE = {"user": _l("user"), "operator": _l("operator"), "administrator": _l("administrator")}
PERSON_STATES = {"active": _l("active"), "pending": _l("waits for approval"), "disabled": _l("disabled")}
KINDS = {"server": _l("server"), "desktop": _l("desktop"), "mobile": _l("mobile"), "iot": _l("small device")}


def step_title(name: str) -> str:
    """A step of the timeline."""
    return str(STEPS.get(name) or name.replace("-", " ").capitalize())


def state_word(name: str) -> str:
    """A state of an instance, a deployment or a box; one that nobody knows stays as it is."""
    return str(STATES.get(name, name))


def role_word(name: str) -> str:
    """A role of a box."""
    return str(ROLES.get(name, name))


def role_of_person(name: str) -> str:
    """What somebody may do."""
    return str(PEOPLE.get(name, name))


def state_of_person(name: str) -> str:
    """Whether somebody may sign in."""
    return str(PERSON_STATES.get(name, name))


def kind_word(name: str) -> str:
    """What sort of machine a box is."""
    return str(KINDS.get(name, name))


def took(seconds: float | None) -> str:
    """A duration: `35 ms`, `2.4 s`, `3 min`, `5 h`."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{_decimal(seconds, '0.0')} s"
    for limit, unit_s, unit in ((3600, 60, "min"), (86400 * 2, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {unit}"
    return str(ngettext("%(num)s day", "%(num)s days", round(seconds / 86400)))


def about(seconds: float) -> str:
    """A duration that is only expected: no more digits than anybody can promise."""
    return f"{max(1, round(seconds))} s" if seconds < 59.5 else took(seconds)


def ready_in(seconds: float) -> str:
    """How soon a start is expected to be done."""
    if seconds < 0.95:
        return str(gettext("ready in under 1 s"))
    return str(gettext("ready in about %(time)s", time=about(seconds)))


def ago(at: float | None) -> str:
    """How long ago a Unix time was."""
    if at is None:
        return str(gettext("never"))
    passed = time.time() - at
    if passed < 5:
        return str(gettext("just now"))
    return str(gettext("%(time)s ago", time=f"{passed:.0f} s" if passed < 60 else took(passed)))


def size(size_bytes: float) -> str:
    """An amount of bytes in binary units."""
    return _localised(show_size(size_bytes).replace(".0 ", " "))


def rate(rate_bps: float) -> str:
    """A rate in bits."""
    return _localised(show_rate(rate_bps))


def cores(count: float) -> str:
    """Processor cores, whole ones or parts."""
    return str(
        gettext("1 core") if count == 1 else gettext("%(number)s cores", number=_decimal(count, "0.###"))
    )


def milliseconds(value_ms: float) -> str:
    """A round trip."""
    return f"{_decimal(value_ms, '0.0' if value_ms < 10 else '0')} ms"


def moment(at: float) -> str:
    """A Unix time for machines, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def day_and_time(at: float, zone: str = "UTC") -> str:
    """A Unix time for people, in their time zone: `Nov 20, 2026, 6:52 PM UTC`."""
    when = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone))
    locale = get_locale() or "en"
    return f"{format_date(when, locale=locale)}, {format_time(when, 'short', locale=locale)} {when.tzname()}"


def _localised(text: str) -> str:
    """`1.5 GiB` with the decimal point of the language."""
    number, _, unit = text.partition(" ")
    return f"{_decimal(float(number), '0.#')} {unit}"


def _decimal(number: float, pattern: str) -> str:
    return format_decimal(number, format=pattern, locale=get_locale() or "en")
