"""What an error may say where others read it: no value of a row, no password."""

import re
import traceback
from pathlib import Path

from personalgen.errors import PersonalgenError

_VALUES = re.compile(
    r"\(first in row.*\)(?=[.;] [A-Z]|$)"  # the examples of quarantine, from the first to the last
    r"|"
    r"= \S.*? \(\w+\)"  # a cell, as quarantine shows it
    r"|(?<!\w)'[^'\n]*'"
    r"|(?<!\w)\"[^\"\n]*\""
)
_PASSWORDS = (
    (re.compile(r"(://[^/@\s:]*):[^\s/]*@"), r"\1:***@"),
    (re.compile(r"((?:password|passwd|secret|token|key|sig|signature)=)[^&\s]+", re.IGNORECASE), r"\1***"),
)
_DETAIL = re.compile(r"DETAIL:.*", re.DOTALL)
_ROOT = Path(__file__).resolve().parents[2]


def discreet(text: str) -> str:
    """Return a message of ours without the values in quotes, which may be somebody's id, and without passwords.

    A value from outside always stands in quotes or as `column = value (type)` in our messages. PostgreSQL's DETAIL,
    which repeats a row, goes altogether.
    """
    return without_passwords(_VALUES.sub("…", _DETAIL.sub("", text)))


def without_passwords(text: str) -> str:
    """Return text without the passwords of the URLs in it."""
    for pattern, instead in _PASSWORDS:
        text = pattern.sub(instead, text)
    return text


def told(error: BaseException) -> str:
    """Return what a line or a notice says of an error: our own words without values, of others only kind and place."""
    if isinstance(error, PersonalgenError):
        return discreet(str(error))
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_ROOT / "personalgen")] or frames
    where = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno} in {ours[-1].name}" if ours else ""
    return f"{type(error).__name__}{where}; its message stands on the terminal, as it may hold values of rows"
