"""Makes the verdict true: one transaction moves what users see, then MLflow's alias follows."""

from dataclasses import asdict, dataclass
from typing import ClassVar

from personalgen.catalogue import release as decisions
from personalgen.catalogue.engine import analyze
from personalgen.registry.run import Run
from personalgen.steps.generate import Generated, operating_point
from personalgen.steps.night import Night, run_stage
from personalgen.steps.promote import Decided
from personalgen.steps.register import Registered
from personalgen.steps.workspace import Workspace


@dataclass(frozen=True)
class Released:
    """What users see after tonight."""

    stage: ClassVar[str] = "release"

    live_version: int
    """0 where nothing is live."""
    moved: bool
    """Whether tonight changed it."""
    n_reused: int
    """Users who keep an image of an earlier night."""


def release(
    workspace: Workspace, night: Night, registered: Registered, decided: Decided, generated: Generated
) -> Released:
    """Return what is live after the decision is written; comes after the images exist, so that nobody sees a gap."""
    return run_stage(
        workspace, night, Released, lambda run: _release(workspace, night, registered, decided, generated, run)
    )


def _release(
    workspace: Workspace, night: Night, registered: Registered, decided: Decided, generated: Generated, run: Run
) -> Released:
    engine, reason = workspace.engine, "; ".join(decided.reasons)
    at, verdict = workspace.now(), asdict(decided)
    before = workspace.live()
    untouched = (before.version if before else 0) in {decided.live_before, registered.version}
    if decided.promote and not untouched:
        reason = f"not applied, as what is live was moved after the gate had decided: {reason}"
    if decided.promote and untouched:
        point = operating_point(workspace, decided)
        decisions.release(
            engine,
            registered.model_version_id,
            operating_point=asdict(point),
            operating_point_digest=point.digest(),
            night_id=night.night_id,
            reason=reason,
            actor="gate",
            at=at,
            verdict=verdict,
        )
    elif registered.version:
        decisions.hold(
            engine,
            registered.model_version_id,
            night_id=night.night_id,
            reason=reason,
            actor="gate",
            at=at,
            verdict=verdict,
        )
    workspace.follow_live()
    analyze(engine)
    live = workspace.live()
    run.set_tags({"live_version": live.version if live else "none"})
    return Released(
        live_version=live.version if live else 0, moved=decided.promote and untouched, n_reused=generated.n_unchanged
    )
