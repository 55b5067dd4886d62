"""What a night writes down and tells: every stage, no person, no password; and a failure that is told as it is."""

import importlib
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from personalgen.errors import DataError, TrainingError
from personalgen.steps.night import STAGES

pytestmark = pytest.mark.timeout(110, func_only=True)


def lines(home):
    """Return what the home's journal holds."""
    texts = [path.read_text() for path in sorted((home.path / "data" / "logs").glob("*.jsonl"))]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def test_a_night_names_every_stage_and_its_runs(first_night):
    """Each stage begins and is done, in order, under the night's key, its MLflow run and its Prefect run."""
    home = first_night.home
    (night,) = home.ask("select * from night order by night_id limit 1")
    told = [line for line in lines(home) if line.get("night_key", night["night_key"]) == night["night_key"]]
    done = [line["stage"] for line in told if line["message"] == "stage done"]
    assert done[: len(STAGES)] == list(STAGES)
    stages = [line for line in told if line["message"] == "stage done"][: len(STAGES)]
    assert {line["prefect_flow_run_id"] for line in stages} == {night["prefect_flow_run_id"]}
    assert len({line["mlflow_run_id"] for line in stages[1:]}) == len(STAGES) - 1
    assert {line["night_key"] for line in stages[1:]} == {night["night_key"]}
    assert all(line["sec"] >= 0 for line in stages)
    assert [line["message"] for line in told if "stage" not in line][:2] == ["night began", "night ended"]


def test_no_line_names_a_person_or_an_item(first_night):
    """Not one of the ids that the night read is anywhere in its logs."""
    home = first_night.home
    text = "".join(path.read_text() for path in (home.path / "data" / "logs").iterdir())
    ids = [row["user_id"] for row in home.ask('select user_id from "user"')]
    ids += [row["item_id"] for row in home.ask("select item_id from item")]
    assert len(ids) > 200
    assert [one for one in ids if one in text] == []


@pytest.fixture
def webhook():
    """The URL of a web server, and what it got."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/s3cret", got
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("answers", [True, False], ids=["webhook", "dead webhook"])
def test_a_failed_night_is_told_and_fails_as_it_would(new_home, plain_nightly, webhook, monkeypatch, answers):
    """Stage, kind, words without values and the runs; a webhook that is dead changes nothing of the error."""
    url, got = webhook
    home = new_home()
    error = TrainingError("diverged at 'sim0-00001'")

    def broken(*_):
        raise error

    monkeypatch.setattr(importlib.import_module("personalgen.steps.recommend"), "_recommend", broken)
    told_to = url if answers else "http://127.0.0.1:1/s3cret"
    with pytest.raises(TrainingError) as caught:
        plain_nightly(home.workspace(f"notify.webhook_url={told_to}", "notify.tries=1"))
    assert caught.value is error
    text = "".join(path.read_text() for path in (home.path / "data" / "logs").iterdir())
    assert "night failed: diverged at …" in text
    assert "s3cret" not in text
    if not answers:
        assert "http://127.0.0.1:1 did not take the notice" in text
        return
    (notice,) = got
    (night,) = home.ask("select * from night")
    assert notice["message"] == "diverged at …"
    assert (notice["outcome"], notice["stage"], notice["error"]) == ("failed", "recommend", "TrainingError")
    assert (notice["night_key"], notice["mlflow_run_id"]) == (night["night_key"], night["mlflow_run_id"])
    assert "sim0" not in json.dumps(notice)


def test_a_night_that_cannot_begin_is_told_without_values(new_home, webhook, plain_nightly):
    """Its first error, a DataError with an example of a row, is told without the row."""
    url, got = webhook
    home = new_home()
    with pytest.raises(DataError, match=r"sim0|shape"):
        plain_nightly(home.workspace(f"notify.webhook_url={url}", "limits.max_quarantine_share=0"))
    (notice,) = got
    assert (notice["stage"], notice["error"], notice["day"]) == ("prepare", "DataError", "")
    assert "cannot be used" in notice["message"]
    assert "sim0" not in notice["message"]
    assert "shape-" not in notice["message"]


def test_a_night_that_ends_well_is_told_where_somebody_asks_for_it(webhook, plain_nightly, first_night):
    """Also of one that was done before."""
    url, got = webhook
    workspace = first_night.home.workspace(f"notify.webhook_url={url}", "notify.on_success=true")
    assert plain_nightly(workspace)["already_done"]
    assert [(notice["outcome"], notice["stage"], notice["message"]) for notice in got] == [("done", "", "")]
