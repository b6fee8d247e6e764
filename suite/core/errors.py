"""The one error that a user is meant to read: a sentence that names the offender and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The command line prints it as one sentence and exits with status 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for an unknown ``name``: what is known, and the nearest of it."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {kind} {name!r}: {hint}known are {', '.join(names) or 'none'}.")
