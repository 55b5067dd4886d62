"""A night that trains in full, whatever is new: the stages of the nightly one, from scratch or from the champion."""

from datetime import datetime
from typing import Any

from prefect import flow

from flows.nightly import one_night, prepare, run_once, run_stages, run_there, scheduled_time
from flows.veiled import veiled
from personalgen.steps import Workspace


@flow(name="retrain", validate_parameters=False, persist_result=False)
@veiled
def retrain(workspace: Workspace, as_of: datetime | None = None, *, warm: bool = False) -> dict[str, Any]:
    """Train on the newest data, and release the model if it earns it; return the night's summary.

    From scratch on a new basis, or `warm` from what is live. The gate decides as in every night.
    """
    with one_night(workspace) as flow_run_id:
        night = prepare(
            workspace,
            as_of=as_of or scheduled_time(),
            flow_run_id=flow_run_id,
            kind="retrain",
            from_scratch=not warm,
        )
        return run_once(workspace, night, run_stages)


def retrain_night(workspace: Workspace, as_of: datetime | None = None, *, warm: bool = False) -> dict[str, Any]:
    """Run `retrain` where the settings say that buckets of users are worked on; return its summary."""
    return run_there(retrain, workspace, as_of=as_of, warm=warm)
