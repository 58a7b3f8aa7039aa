"""Which limit counts, and whether something exceeds it: pure, over plain values.

What one person uses is bounded, for each amount on its own, by the most specific row that speaks of it: the
person's own, else the strictest of the groups' for each of their members, else everybody's. What a group uses
together is bounded beside that by the row of the whole group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from common.units import show_size
from master.limits.models import LimitKind

AMOUNTS = ("deployments", "cpu", "memory_bytes", "disk_bytes", "gpu")
LEASE = "lease_s"
_NOUNS = {
    "deployments": "deployments",
    "cpu": "cpu",
    "memory_bytes": "memory",
    "disk_bytes": "disk",
    "gpu": "gpu",
}
_SPECIFIC = (LimitKind.PERSON, LimitKind.MEMBERS, LimitKind.EVERYBODY)
# Sums of fractions of a core: this much more is no more.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Rule:
    """One row: of whom it speaks, and what it says; an amount that is not there is not spoken of."""

    kind: LimitKind
    subject_id: str
    subject: str
    values: Mapping[str, float]

    def __str__(self) -> str:
        return {
            LimitKind.PERSON: "your own limit",
            LimitKind.MEMBERS: f"the limit for each member of {self.subject}",
            LimitKind.EVERYBODY: "the limit for everybody",
            LimitKind.GROUP: f"the limit of the whole group {self.subject}",
        }[self.kind]


@dataclass(frozen=True)
class Held:
    """What a deployment that has not ended holds."""

    deployment: str
    title: str
    user_id: str
    amounts: Mapping[str, float]
    stopping: bool = False


@dataclass(frozen=True)
class Bound:
    """A limit that counts, whose use counts against it, and how much that is."""

    amount: str
    limit: float
    rule: Rule
    used: float = 0.0
    holders: Sequence[Held] = field(default=())


def decisive(rules: Iterable[Rule], name: str) -> Rule | None:
    """The row that bounds this amount of one person."""
    for kind in _SPECIFIC:
        speaking = [rule for rule in rules if rule.kind is kind and name in rule.values]
        if speaking:
            return min(speaking, key=lambda rule: (rule.values[name], rule.subject))
    return None


def bounds(rules: Sequence[Rule], own: Sequence[Held], by_group: Mapping[str, Sequence[Held]]) -> list[Bound]:
    """All limits that count for a person who holds `own`, whose groups (by id) hold `by_group`."""
    found = []
    for name in AMOUNTS:
        rule = decisive(rules, name)
        if rule is not None:
            found.append(_bound(name, rule, own))
    for rule in rules:
        if rule.kind is LimitKind.GROUP:
            held = by_group.get(rule.subject_id, ())
            found += [_bound(name, rule, held) for name in AMOUNTS if name in rule.values]
    return found


def _bound(name: str, rule: Rule, held: Sequence[Held]) -> Bound:
    holders = tuple(item for item in held if item.amounts.get(name))
    return Bound(name, rule.values[name], rule, sum(item.amounts[name] for item in holders), holders)


def exceeded(found: Iterable[Bound], asked: Mapping[str, float]) -> Bound | None:
    """The first limit that what is asked for would exceed; what is not asked for exceeds nothing."""
    for bound in found:
        more = asked.get(bound.amount, 0.0)
        if more and bound.used + more > bound.limit + _TOLERANCE:
            return bound
    return None


def explain(bound: Bound, asked: Mapping[str, float], user_id: str) -> tuple[str, str]:
    """What happened and what helps, for somebody whose request exceeds `bound`."""
    more = asked[bound.amount]
    who = "The group" if bound.rule.kind is LimitKind.GROUP else "You"
    noun = _NOUNS[bound.amount]
    message = (
        f"{who} may use {amount(bound.amount, bound.limit)} {noun} at once ({bound.rule}): "
        f"{amount(bound.amount, bound.used)} in use, and this needs {amount(bound.amount, more)}."
    )
    if more > bound.limit + _TOLERANCE:
        return message, "Choose less, or ask an administrator for more."
    mine = sorted(
        (item for item in bound.holders if item.user_id == user_id),
        key=lambda item: (-item.stopping, item.amounts[bound.amount], item.deployment),
    )
    if not mine:
        return message, "Wait until others stop something, or ask an administrator for more."
    first = mine[0]
    if first.stopping:
        return message, f"{first.title} ({first.deployment}) is stopping: try again in a moment."
    held = amount(bound.amount, first.amounts[bound.amount])
    return (
        message,
        f"Stop {first.title} ({first.deployment}, {held} {noun}), or ask an administrator for more.",
    )


def amount(name: str, value: float) -> str:
    """An amount for people."""
    return show_size(value) if name.endswith("_bytes") else f"{value:g}"
