"""`nightly` and its single steps."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from personalgen.cli.serve import prefect_home, use_own_server
from personalgen.cli.terminal import (
    AcceptOption,
    AsOfOption,
    ConfigOption,
    JsonOption,
    SetOption,
    accepting,
    counted,
    options_text,
    parse_instant,
    quiet_environment,
    workspace,
)

if TYPE_CHECKING:
    from personalgen.steps import Night, Workspace


def nightly(
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_of: AsOfOption = None,
    accept: AcceptOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the whole night: from history tables to an image for every user."""
    instant = parse_instant(as_of)
    with workspace_of_flows(config, accepting(overrides, accept)) as opened:
        from flows.nightly import run_night

        summary = run_night(opened, as_of=instant)
    show_night(summary, options_text(config, overrides), as_json=as_json)


@contextmanager
def workspace_of_flows(
    config: Path | None, overrides: Sequence[str] | None, *, existing: bool = False
) -> "Iterator[Workspace]":
    """Yield the workspace of a config for a flow; Prefect keeps its own things in the same home."""
    quiet_environment()
    with workspace(config, overrides, existing=existing) as opened:
        use_own_server(prefect_home(opened))
        yield opened


def show_night(summary: dict[str, Any], options: str, *, as_json: bool) -> None:
    """Print a night in numbers."""
    typer.echo(json.dumps(summary, ensure_ascii=False, indent=2) if as_json else night_text(summary, options))


def add_steps(app: typer.Typer) -> None:
    """Add one command per stage: each runs that stage alone, on the stored results of those before it."""
    for name, (run, text) in _STEPS.items():
        app.command(name, help=f"{text} Runs one stage of the night, on the stored results of those before it.")(
            _command(run, needs=_NEEDS.get(name, ()))
        )


def _command(run: "Callable[[Workspace, Night], Any]", *, needs: Sequence[str]) -> Callable[..., None]:
    def command(
        config: ConfigOption = None,
        overrides: SetOption = None,
        as_of: AsOfOption = None,
        accept: AcceptOption = None,
        as_json: JsonOption = False,
    ) -> None:
        from personalgen import steps

        instant = parse_instant(as_of)
        with workspace(config, accepting(overrides, accept)) as opened, opened.journal.opened(), opened.only_night():
            kinds = [getattr(steps, name) for name in needs]
            night = steps.prepare(opened, as_of=instant, needs=kinds)
            facts = asdict(run(opened, night))
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2) if as_json else stage_text(facts))

    return command


def _recommend(opened: "Workspace", night: "Night") -> Any:
    from personalgen import steps

    return steps.recommend(opened, night)


def _embed(opened: "Workspace", night: "Night") -> Any:
    from personalgen import steps

    return steps.embed(opened, night, steps.recommend(opened, night))


def _register(opened: "Workspace", night: "Night") -> Any:
    from personalgen import steps

    return steps.register(
        opened, night, steps.stage_result(night, steps.Trained), steps.stage_result(night, steps.Evaluated)
    )


def _promote(opened: "Workspace", night: "Night") -> Any:
    from personalgen import steps

    evaluated = steps.stage_result(night, steps.Evaluated)
    return steps.promote(
        opened, night, evaluated, steps.register(opened, night, steps.stage_result(night, steps.Trained), evaluated)
    )


def _canary(opened: "Workspace", night: "Night") -> Any:
    from personalgen import steps

    embedded, decided = steps.stage_result(night, steps.Embedded), steps.stage_result(night, steps.Decided)
    return steps.canary(opened, night, embedded, decided)


def _generate(opened: "Workspace", night: "Night") -> Any:
    from personalgen import steps

    embedded, decided = steps.stage_result(night, steps.Embedded), _canary(opened, night)
    generated = steps.generate(opened, night, embedded, decided)
    released = steps.release(opened, night, steps.stage_result(night, steps.Registered), decided, generated)
    steps.score(opened, night)
    steps.report(opened, night, embedded, steps.stage_result(night, steps.Evaluated), decided, generated, released)
    return generated


def _score(opened: "Workspace", night: "Night") -> Any:
    from personalgen import steps

    return steps.score(opened, night)


_STEPS: "dict[str, tuple[Callable[[Workspace, Night], Any], str]]" = {
    "prepare": (lambda _, night: night, "Read and validate the source; say which night this is."),
    "recommend": (_recommend, "Bring what is known of users up to tonight; say what each may like next."),
    "embed": (_embed, "Turn histories into preference vectors."),
    "promote": (_promote, "Register the challenger and ask the gate."),
    "canary": (_canary, "Draw a share of the users with a challenger that passed, and compare (gate.canary_share)."),
    "generate": (_generate, "Generate missing images, catalogue them, release, score and report."),
    "score": (_score, "Score tonight's new images by their people's likes."),
}

_NEEDS = {
    "promote": ("Evaluated", "Trained"),
    "canary": ("Embedded", "Decided"),
    "generate": ("Embedded", "Decided", "Registered", "Evaluated"),
    "score": ("Generated",),
}
"""The results of earlier stages that these go on from; without one of them no night is begun."""


_NOUNS = {
    "users_new": "user",
    "users_unchanged": "user",
    "new_events": "new event",
    "users_replaced": "user",
    "events": "event",
    "rows_quarantined": "row",
    "events_after_as_of": "event",
    "events_unlisted": "event",
}
_TRY_NEXT = (
    "personalgen assets latest",
    'personalgen assets sql "SELECT model_version, count(*) AS images FROM v_assets GROUP BY 1"',
    "personalgen assets export out/",
)
_TRY_NEXT_UNPROMOTED = (
    "personalgen models list",
    "personalgen models history",
    'personalgen models promote {version} --reason "to look at it"',
)


def stage_text(facts: dict[str, Any]) -> str:
    """Return a stage's result as aligned lines."""
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def night_text(summary: dict[str, Any], options: str) -> str:
    """Return what a person wants to know after a night, with three commands to try next, with the night's options."""
    again = "  (done before: nothing was added)" if summary["already_done"] else ""
    lines = ["", f"Night of {summary['day']}, {summary['source']}{again}"]
    lines += [
        f"  {name:<11} {text}"
        for name, text in _night_rows(
            {key: _shown(value) for key, value in summary.items()} | _counts(summary), summary
        )
    ]
    commands: tuple[str, ...] = _TRY_NEXT
    if not summary["live_version"]:
        commands = tuple(command.format(version=summary["version"]) for command in _TRY_NEXT_UNPROMOTED)
    return "\n".join([*lines, "", "Try next:", *(f"  {command}{options}" for command in commands)])


def _counts(summary: dict[str, Any]) -> dict[str, str]:
    """Return the facts that are told with their noun."""
    return {name: counted(summary[name], noun) for name, noun in _NOUNS.items()}


def _safety(summary: dict[str, Any]) -> str:
    """Return what the filter did; nights of earlier versions had none."""
    name = summary.get("safety_filter", "none")
    return "no filter looked at the images" if name == "none" else f"{summary['images_refused']:,} refused by {name}"


def _scored(summary: dict[str, Any]) -> str:
    """Return what the judge said of the night's images; nights of earlier versions had no such stage."""
    if not summary.get("images_scored"):
        return "no image was scored"
    images = counted(summary["images_scored"], "image")
    return f"{summary['mean_score']:+.3f} in the mean of {images}; 0 would suit anybody as well"


def _night_rows(shown: dict[str, str], summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (heading, text) of each line; `shown` holds every fact as text."""
    yield "images", "{images_made} made: {users_new} new to the model, {users_changed} changed".format(**shown)
    yield "", "{users_unchanged} kept theirs; in {shards}".format(**shown)
    yield "safety", _safety(summary)
    yield "score", _scored(summary)
    yield "champion", _champion(summary)
    yield "training", _training(summary)
    yield "gate", shown["gate"]
    if summary["kid"] is None:
        yield "evaluation", "missing: see the gate"
    else:
        yield from _evaluation_rows(shown, summary)
    yield (
        "users",
        "state {state}; {new_events}, {users_replaced} with other events than before".format(**shown),
    )
    if summary.get("vectors_kept"):
        yield "", "what was known last night is kept: {vectors_kept}".format(**shown)
    yield "next likes", _next_likes(shown, summary)
    aside = f": {summary['quarantine']}" if summary["rows_quarantined"] else ""
    yield "rows", "{events} read, {rows_quarantined} quarantined".format(**shown) + aside
    yield (
        "",
        "not read: {events_after_as_of} after as_of, {events_opted_out} of users who opted out".format(**shown),
    )
    if summary["events_unlisted"]:
        yield "", "not read: {events_unlisted} of users who are not in the users table".format(**shown)
    yield "report", shown["report"]
    yield "sheet", summary["sheet"] or "none: no model may draw yet"


def _next_likes(shown: dict[str, str], summary: dict[str, Any]) -> str:
    """Return what is recommended, and how well the newest likes were foretold."""
    made = (
        "last night's stand, as popularity is far better"
        if summary.get("tables_kept")
        else "{recommendations} recommended"
    )
    told = "" if summary["ndcg"] is None else "; NDCG@10 {ndcg}, what is popular {ndcg_of_popularity}"
    return (made + told).format(**shown)


def _evaluation_rows(shown: dict[str, str], summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the lines of tonight's figures, each beside its floor or control."""
    yield "KID", "{kid}; real against real {kid_floor}".format(**shown) + _before(summary, "kid_before")
    yield (
        "fit gain",
        "{fit_gain} [{fit_gain_low}, {fit_gain_high}]".format(**shown) + _before(summary, "fit_gain_before"),
    )
    yield "", "own pictures {fit_generated}, control with shuffled users {fit_shuffled}".format(**shown)
    yield (
        "",
        "held-out real likes {fit_real_gain}; normalised (NPG) {npg}".format(**shown) + _before(summary, "npg_before"),
    )


def _champion(summary: dict[str, Any]) -> str:
    if not summary["live_version"]:
        return "none yet: nothing was generated"
    what = "promoted tonight" if summary["promoted"] else "kept"
    return f"{summary['model_name']} v{summary['live_version']}, {what}"


def _training(summary: dict[str, Any]) -> str:
    """Return why the night trained, or did not; nights of earlier versions always did."""
    if "training" not in summary:
        return "done"
    return f"{'done' if summary['trained'] else 'skipped'}: {summary['training']}"


def _before(summary: dict[str, Any], name: str) -> str:
    """Return the figure of what training started from, measured tonight too."""
    value = summary[name]
    return "" if value is None else f"; the {summary['before_is']} before the night {_shown(value)}"


def _shown(value: Any) -> str:
    """Return a fact as text."""
    if value is None:
        return "missing"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
