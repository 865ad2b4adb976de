"""Words for people. What a stranger wrote is cleaned and cut before it stands in a sentence."""

from __future__ import annotations

import unicodedata

from gatewatch.records import Finding, Scope
from gatewatch.records.quantities import amount, span, usual

TEXT_CAP = 128  # of one stranger's string in a sentence: any identifier fits, an essay does not
# Control, format (bidi overrides, zero width), surrogate, private use, line and paragraph separators: nothing of these
# shows, and each can make a line read as something it is not.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})

# What tells a reader most beside the key that is accused, in this order
_BESIDE: dict[Scope, tuple[tuple[str, str], ...]] = {
    Scope.IP: (("account", "account"), ("principal", "principal")),
    Scope.NETWORK: (("ip", "last from"), ("account", "account")),
    Scope.ACCOUNT: (("ip", "last from"),),
    Scope.PRINCIPAL: (("ip", "last from"), ("endpoint", "on")),
    Scope.CREDENTIAL: (("principal", "of"), ("ip", "last from")),
}

# Who does it; the other scopes are what it is done to
_ACTORS = (Scope.IP, Scope.NETWORK, Scope.PRINCIPAL, Scope.CREDENTIAL)


def clean(text: str, cap: int = TEXT_CAP) -> str:
    r"""``text`` in one line, without characters that do not show, at most ``cap`` long.

    >>> clean("root\x1b[2J\u202egnp.exe")
    'root [2J gnp.exe'
    """
    shown = "".join(" " if unicodedata.category(c) in _UNSEEN else c for c in text[: 4 * cap])
    line = " ".join(shown.split())
    return line if len(line) <= cap else line[: cap - 1] + "…"


def accused(scope: Scope, key: str) -> str:
    """The key with its kind: "ip 192.0.2.1"; what is about everything is named by its key alone."""
    if scope is Scope.ALL:
        return clean(key) or scope.value
    return f"{scope.value} {clean(key)}" if key else scope.value


def sentence(finding: Finding) -> str:
    """What happened, in one line: who, what, how much of which unit, what was expected."""
    over = f" over {span(finding.window_s)}" if finding.window_s > 0 else ""
    beside = [
        f"{word} {clean(finding.context[name])}"
        for name, word in _BESIDE.get(finding.scope, ())
        if finding.context.get(name)
    ]
    word = "by" if finding.scope in _ACTORS else "on"
    who = f"{finding.title} {word} {accused(finding.scope, finding.key)}"
    what = f"{amount(finding.observed, finding.unit)}{over}, expected {usual(finding.expected)}"
    return "; ".join((f"{who}: {what}", *beside))
