"""What Prefect's interface shows of a night, and that nothing of it can stop one."""

import logging

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from flows import artifacts
from flows.artifacts import show_night, with_progress, written

pytestmark = pytest.mark.timeout(110, func_only=True)

SUMMARY = {"day": "2026-03-01", "images_made": 3, "report": "/srv/reports/report.html", "sheet": ""}


def shown_by(body):
    """Run a body inside a flow, and return the artifacts that its run has."""
    ran = flow(name="shows", validate_parameters=False)(body)
    with get_client(sync_client=True) as client:
        state = ran(return_state=True)
        found = client.read_artifacts(limit=100)
        return [one for one in found if one.flow_run_id == state.state_details.flow_run_id]


@pytest.mark.slow
def test_a_night_is_a_table_and_links(monkeypatch):
    """Numbers, the report's place, no link to a sheet that there is not; long stages show how far they are."""
    monkeypatch.setattr(artifacts, "_EVERY_SEC", 0.0)
    seen = []

    def body():
        show_night(SUMMARY)
        show = with_progress(lambda *told: seen.append(told))
        for done in (1, 2, 4):
            show("item features", done, 4)

    found = {one.key: one for one in shown_by(body)}
    assert set(found) == {"night-summary", "night-report", "progress-item-features"}
    assert "images made" in str(found["night-summary"].data)
    assert "file:///srv/reports/report.html" in str(found["night-report"].data)
    assert float(found["progress-item-features"].data) == 100
    assert seen == [("item features", done, 4, "") for done in (1, 2, 4)]


def test_an_artifact_that_cannot_be_written_is_a_line(monkeypatch, caplog):
    """Whatever is raised; outside a flow nothing is tried at all."""

    def refused(**_):
        raise RuntimeError("no server")

    assert written(refused, key="x") is None
    assert caplog.text == ""
    monkeypatch.setattr(artifacts.runtime.flow_run, "id", "some run", raising=False)
    with caplog.at_level(logging.INFO):
        assert written(refused, key="x") is None
    assert "artifact x not written: RuntimeError" in caplog.text


def test_a_short_stage_makes_no_artifact(monkeypatch):
    """The display is asked each time; Prefect only after half a minute."""
    monkeypatch.setattr(artifacts, "written", lambda *_, **__: pytest.fail("an artifact was written"))
    seen = []
    show = with_progress(lambda *told: seen.append(told))
    show("embed", 1, 2)
    show("embed", 2, 2, "note")
    assert seen == [("embed", 1, 2, ""), ("embed", 2, 2, "note")]
