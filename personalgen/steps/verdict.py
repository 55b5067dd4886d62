"""What became of tonight's challenger, as a page of Markdown: the verdict, its reasons and the figures behind it."""

from collections.abc import Iterator, Mapping

from personalgen.steps.evaluate import Evaluated
from personalgen.steps.night import Night
from personalgen.steps.promote import Decided
from personalgen.steps.register import Registered


def verdict_markdown(night: Night, registered: Registered, evaluated: Evaluated, decided: Decided) -> str:
    """Return the verdict after the canary, with challenger less champion as tables where they were compared."""
    if registered.version:
        became = f"v{registered.version}: {'promoted' if decided.promote else 'held'}"
    else:
        became = "no challenger"
    live = f"v{decided.live_before}" if decided.live_before else "nothing"
    lines = [f"# {became}", "", f"Night of {night.day}; live before it: {live}.", ""]
    lines += [f"- {reason}" for reason in decided.reasons]
    lines += _table("Challenger less champion, on held-out people", evaluated.paired if decided.live_before else {})
    lines += _table("Canary: challenger less champion, on users of tonight", decided.canary)
    return "\n".join(lines) + "\n"


def _table(title: str, numbers: Mapping[str, float]) -> list[str]:
    """Return the differences as a table with their intervals; nothing where there are none."""
    rows = list(_rows(numbers))
    return ["", f"## {title}", "", "| figure | difference | interval |", "|---|---|---|", *rows] if rows else []


def _rows(numbers: Mapping[str, float]) -> Iterator[str]:
    for name in (key.removesuffix("_diff") for key in numbers if key.endswith("_diff")):
        diff, low, high = (numbers[f"{name}_{end}"] for end in ("diff", "low", "high"))
        yield f"| {name} | {diff:+.4g} | {low:+.4g} to {high:+.4g} |"
