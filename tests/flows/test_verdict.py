"""The verdict beside the flow run, in Prefect."""

import logging

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.artifacts import VERDICT, show_verdict

pytestmark = pytest.mark.timeout(110, func_only=True)  # the night runs once, while a test is set up


def test_the_verdict_of_a_night_is_an_artifact_of_its_flow_run(first_night):
    """The page names the version and says what became of it, with the reasons of the summary."""
    flow_run_id = first_night.home.ask("select prefect_flow_run_id as id from night where night_id = 1")[0]["id"]
    with get_client(sync_client=True) as client:
        asked = ArtifactFilter(key=ArtifactFilterKey(any_=[VERDICT]))
        found = [one for one in client.read_artifacts(artifact_filter=asked) if str(one.flow_run_id) == flow_run_id]
    (verdict,) = found
    assert verdict.data.startswith("# v1: promoted")
    assert all(reason in verdict.data for reason in first_night.summary["gate"].split("; ")[:2])


def test_outside_of_a_flow_run_nothing_is_kept(caplog):
    """A step that is called by itself needs no server."""
    with caplog.at_level(logging.INFO):
        show_verdict("# v1: held", day="2026-01-01")
    assert not caplog.records


def test_a_server_that_does_not_answer_fails_no_night(monkeypatch, caplog):
    """A line says which artifact is missing; the verdict stands elsewhere."""
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "5f9c2b52-0000-4000-8000-000000000000")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), caplog.at_level(logging.INFO):
        show_verdict("# v1: held", day="2026-01-01")
    assert "artifact promotion not written" in caplog.text
