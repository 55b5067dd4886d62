"""What a night does that only generates: no challenger, so nothing to decide on, and users see the model they saw."""

from personalgen.artifacts import write_json
from personalgen.catalogue.engine import analyze
from personalgen.errors import NotFoundError
from personalgen.steps.embed import Embedded
from personalgen.steps.evaluate import Evaluated
from personalgen.steps.generate import Generated
from personalgen.steps.night import Night, run_stage
from personalgen.steps.promote import Decided
from personalgen.steps.release import Released
from personalgen.steps.report import Reported, report
from personalgen.steps.workspace import Workspace

_BECAUSE = "this night only generates: nothing was trained"


def keep_live(workspace: Workspace, night: Night) -> Decided:
    """Return that the live model draws tonight. No decision is written: nobody was asked.

    Raises:
        NotFoundError: nothing is live any more.
    """
    return run_stage(workspace, night, Decided, lambda _: _keep_live(workspace, night))


def report_live(
    workspace: Workspace, night: Night, embedded: Embedded, decided: Decided, generated: Generated
) -> Reported:
    """Return the night's report, without figures of an evaluation, and mark the night as done."""
    table, live = night.path / "evaluation.json", workspace.live()
    write_json(table, [])
    workspace.follow_live()
    analyze(workspace.engine)
    nothing = Evaluated({}, {}, "", {}, _BECAUSE, "", str(table))
    released = Released(live.version if live else 0, moved=False, n_reused=generated.n_unchanged)
    return report(workspace, night, embedded, nothing, decided, generated, released)


def _keep_live(workspace: Workspace, night: Night) -> Decided:
    live = workspace.live()
    if live is None:
        raise NotFoundError(
            f"nothing is live any more, which the night of {night.day} would draw with. Run `personalgen nightly`. "
            "Nothing was generated."
        )
    return Decided(
        promote=False,
        reasons=(_BECAUSE,),
        model_version_id=live.model_version_id,
        version=live.version,
        live_before=live.version,
    )
