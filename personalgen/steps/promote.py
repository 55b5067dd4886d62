"""Asks the gate whether tonight's challenger may reach users. Nothing moves yet: the release does that."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from personalgen.artifacts import canonical_json
from personalgen.registry.promotion import Difference, Figures, PairedDifference, Verdict, Votes, decide
from personalgen.registry.run import Run
from personalgen.steps.choices import votes_between
from personalgen.steps.evaluate import Evaluated, Numbers
from personalgen.steps.night import Night, run_stage
from personalgen.steps.register import Registered
from personalgen.steps.workspace import Workspace


@dataclass(frozen=True)
class Decided:
    """The gate's verdict, and the model that tonight's images come from."""

    stage: ClassVar[str] = "promote"

    promote: bool
    reasons: tuple[str, ...]
    model_version_id: int
    """The challenger where it is promoted, else the live model; 0 where there is neither."""
    version: int
    live_before: int
    """Version that was live before the verdict; 0 where none was."""
    operating_point: dict[str, Any] = field(default_factory=dict)
    """Where the challenger was measured, and is released if it is promoted; empty where it was not measured."""
    canary: dict[str, float] = field(default_factory=dict)
    """Figures of the canary, challenger less champion; empty where there was none."""


def promote(workspace: Workspace, night: Night, evaluated: Evaluated, registered: Registered) -> Decided:
    """Return the gate's verdict on tonight's challenger."""
    return run_stage(workspace, night, Decided, lambda run: _promote(workspace, evaluated, registered, run))


def _promote(workspace: Workspace, evaluated: Evaluated, registered: Registered, run: Run) -> Decided:
    live = workspace.live()
    if registered.version:
        verdict = gate_now(workspace, evaluated, registered.generator_sha256)
        tag_verdict(workspace, registered.version, verdict)
        run.set_tags({"gate": "promoted" if verdict.promote else "held"})
    else:
        verdict = Verdict(promote=False, reasons=(f"no challenger: {evaluated.missing}",))
    live_id, live_version = (live.model_version_id, live.version) if live else (0, 0)
    chosen = (registered.model_version_id, registered.version) if verdict.promote else (live_id, live_version)
    return Decided(
        promote=verdict.promote,
        reasons=verdict.reasons,
        model_version_id=chosen[0],
        version=chosen[1],
        live_before=live_version,
        operating_point=evaluated.operating_point,
    )


def tag_verdict(workspace: Workspace, version: int, verdict: Verdict) -> None:
    """Write on a model version what became of it, and why."""
    workspace.registry.tag(version, "gate", "promoted" if verdict.promote else "held")
    workspace.registry.tag(version, "gate_reasons", canonical_json(verdict.reasons))


def gate(workspace: Workspace, evaluated: Evaluated, votes: Votes | None = None) -> Verdict:
    """Return the verdict on tonight's figures and people's choices; a snapshot to start from is no champion."""
    live = workspace.live()
    found = (live.model_version_id, live.operating_point_digest) if live else (0, 0)
    if found != (evaluated.champion_id, evaluated.champion_point):
        return Verdict(promote=False, reasons=("what is live was moved after the evaluation had measured it",))
    if not evaluated.challenger:
        return Verdict(promote=False, reasons=(f"the evaluation is missing: {evaluated.missing}",))
    champion = figures(evaluated.before) if evaluated.before_is == "champion" else None
    paired = difference(evaluated.paired) if champion else None
    return decide(figures(evaluated.challenger), champion, paired, workspace.settings.gate, votes=votes)


def gate_now(workspace: Workspace, evaluated: Evaluated, challenger_sha256: str) -> Verdict:
    """Return what the gate says with the blind choices that are stored by now; nothing is decided by asking."""
    return gate(workspace, evaluated, votes_between(workspace, challenger_sha256, evaluated.champion_id))


def figures(numbers: Numbers) -> Figures:
    """Return the gate's view of one model's figures; a missing one is NaN, on which the gate holds."""
    return Figures(
        kid=_get(numbers, "kid"),
        kid_low=_get(numbers, "kid_low"),
        kid_high=_get(numbers, "kid_high"),
        kid_floor=_get(numbers, "kid_floor"),
        gain=_get(numbers, "fit_gain"),
        gain_low=_get(numbers, "fit_gain_low"),
        gain_high=_get(numbers, "fit_gain_high"),
        n_users=int(numbers.get("n_users", 0)),
        diversity=numbers.get("diversity_between"),
        within=numbers.get("diversity_within"),
        memorised_low=numbers.get("memorised_low"),
    )


def difference(numbers: Numbers) -> PairedDifference:
    """Return the gate's view of the paired comparison."""
    found = {
        name: Difference(*(_get(numbers, f"{name}_{end}") for end in ("diff", "low", "high")))
        for name in ("fit", "kid", "between", "within", "memorised")
        if name in {"fit", "kid"} or f"{name}_diff" in numbers
    }
    return PairedDifference(**found)


def _get(numbers: Numbers, name: str) -> float:
    return numbers.get(name, math.nan)
