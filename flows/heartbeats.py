"""Runs whose process died are told as crashed: they stop beating, and an automation of the server sees it."""

from datetime import timedelta
from typing import Final

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.deployments import TAG

SILENCE_SEC: Final = 90
NAME: Final = "personalgen: a run that stopped beating has crashed"


def watch_heartbeats(client: SyncPrefectClient) -> None:
    """Make the automation where the server has none of its name."""
    if not client.read_automations_by_name(NAME):
        client.create_automation(automation())


def automation() -> AutomationCore:
    """Return what changes a run of ours to CRASHED when neither a beat nor its end is seen for a while."""
    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    beat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name=NAME,
        description="Made by `personalgen serve`. A process that is killed cannot say so itself.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification({"prefect.resource.id": f"prefect.tag.{TAG}"}),
            after={beat},
            expect={beat, *ends},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENCE_SEC),
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed", state=StateType.CRASHED, message="no heartbeat: its process is gone", force=False
            )
        ],
    )
