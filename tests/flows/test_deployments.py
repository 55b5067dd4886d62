"""What a Prefect server is told: names, entrypoints and parameters, the same by `serve` and by prefect.yaml."""

import importlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from flows import deployments, serving
from flows.deployments import DEPLOYMENTS, FLOW
from flows.heartbeats import SILENCE_SEC, automation
from personalgen.errors import ConfigError

ROOT = Path(__file__).parents[2]
MANIFEST = yaml.safe_load((ROOT / "prefect.yaml").read_text())


def test_each_deployment_is_found_by_its_name():
    """A worker imports what the entrypoint says: an attribute of the module."""
    for name, flow in DEPLOYMENTS.items():
        assert getattr(deployments, name.replace("-", "_")) is flow
        assert flow.name == FLOW


def test_the_manifest_deploys_the_same_flows():
    """Each deployment of prefect.yaml leads to a flow of the table, with parameters that it takes."""
    assert [each["name"] for each in MANIFEST["deployments"]] == list(DEPLOYMENTS)
    for each in MANIFEST["deployments"]:
        module, _, attribute = each["entrypoint"].rpartition(".")
        flow = getattr(importlib.import_module(module), attribute)
        assert flow is DEPLOYMENTS[each["name"]]
        assert set(each["parameters"]) <= set(flow.parameters.properties)


def test_the_server_is_told_of_the_file_and_not_of_what_is_in_it(new_home, tmp_path):
    """Parameters are kept for ever, and settings hold passwords."""
    secret = "store.catalogue_url=postgresql+psycopg://me:s3cret@localhost/c"
    workspace = new_home().workspace(secret, "store.time_zone=Europe/Berlin")
    planned, *others = serving.planned_deployments(workspace, tmp_path / "a.toml")
    for each in (planned, *others):
        assert each.parameters == {"config": str(tmp_path / "a.toml")}
        assert "s3cret" not in each.model_dump_json()
    assert not any(each.schedules for each in others)
    (schedule,) = planned.schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 2 * * *", "Europe/Berlin")
    assert planned.concurrency_limit is None


def test_an_empty_line_is_no_schedule(new_home):
    """The deployments are there, and start when somebody asks."""
    planned = serving.planned_deployments(new_home().workspace("schedule.cron="), None)
    assert not any(each.schedules for each in planned)


def test_a_line_that_prefect_cannot_read_is_refused(new_home):
    """Five fields are not enough: the message names the line."""
    with pytest.raises(ConfigError, match=r"schedule\.cron = '99 2 \* \* \*' is no cron line.*Nothing was scheduled"):
        serving.planned_deployments(new_home().workspace("schedule.cron=99 2 * * *"), None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (datetime(2026, 3, 1, 2), datetime(2026, 3, 1, 2, tzinfo=UTC)),  # noqa: DTZ001 - what is tested
        (datetime.fromisoformat("2026-03-01T02:00:00+01:00"), datetime(2026, 3, 1, 1, tzinfo=UTC)),
        (None, None),
    ],
)
def test_an_instant_without_a_zone_is_utc(given, expected, tmp_path, monkeypatch):
    """And one with a zone is the same instant in UTC, as this project's own type."""
    seen = []
    monkeypatch.setattr(deployments, "get_run_logger", lambda: None)
    monkeypatch.setattr(deployments, "scheduled_time", lambda: None)
    entry = deployments._deployed("x", lambda workspace, as_of: seen.append((workspace.waits, as_of)))
    entry.fn(overrides=[f"home={tmp_path}"], as_of=given)
    assert seen == [(True, expected)]


def test_a_run_is_given_time_for_three_beats():
    """One late heartbeat is no crash; the automation heeds the runs of our deployments alone."""
    found = automation()
    assert SILENCE_SEC >= 3 * 30
    assert found.trigger.within.total_seconds() == SILENCE_SEC
    assert found.trigger.match_related.root == {"prefect.resource.id": "prefect.tag.personalgen"}
