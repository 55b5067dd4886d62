"""Which values of options can be used: each options class calls `check_options` when it is made."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from personalgen.errors import OptionsError

MAX_ID = 2**63 - 1
"""The largest id that a database holds."""
MAX_INTEGER = 2**31 - 1
"""The largest count, or version of a model, that a database holds."""


def check_options(
    section: str,
    options: object,
    *,
    least: Mapping[str, float] | None = None,
    above: Mapping[str, float] | None = None,
    shares: Sequence[str] = (),
    choices: Mapping[str, Sequence[object]] | None = None,
    more: Sequence[str] = (),
) -> None:
    """Return if every named value is finite and at least `least`, above `above`, in [0, 1], or one of `choices`.

    `more` holds faults that the caller found itself, in the same words: name, expectation, value found.

    Raises:
        OptionsError: naming every value of the section that cannot be used.
    """
    found = [
        *_outside(options, least or {}, "at least {:g}", lambda value, bound: value >= bound),
        *_outside(options, above or {}, "above {:g}", lambda value, bound: value > bound),
        *_outside(options, dict.fromkeys(shares, 1.0), "in [0, {:g}]", lambda value, bound: 0 <= value <= bound),
    ]
    for name, known in (choices or {}).items():
        if getattr(options, name) not in known:
            found.append(f"{name} must be one of {', '.join(map(str, known))}, found {getattr(options, name)!r}")
    if found or more:
        raise OptionsError(section, (*found, *more))


def _outside(
    options: object, bounds: Mapping[str, float], words: str, inside: Callable[[float, float], bool]
) -> Iterator[str]:
    """Yield a sentence for each value that is not inside its bound, or no number."""
    for name, bound in bounds.items():
        value = getattr(options, name)
        if not (math.isfinite(value) and inside(value, bound)):
            yield f"{name} must be {words.format(bound)}, found {value}"
