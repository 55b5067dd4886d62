import json
import logging
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest

from personalgen.journal.lines import Journal
from personalgen.journal.options import LogOptions

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOG = logging.getLogger("personalgen.steps.somewhere")


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "logs", LogOptions(keep_days=7), now=lambda: NOON)


def lines(journal):
    """Return what the journal's files hold."""
    return [
        json.loads(line) for path in sorted(journal.folder.glob("*.jsonl")) for line in path.read_text().splitlines()
    ]


def test_a_line_says_when_what_and_to_which_night_it_belongs(journal):
    """Time in UTC, level, logger, message, night, stage, runs and process, and facts of its own."""
    with journal.opened(night_key="ab12", prefect_flow_run_id="f"), journal.stage("train"):
        journal.tell(mlflow_run_id="m")
        LOG.warning("%d shards", 3, extra={"facts": {"n": 3}})
    (line,) = [line for line in lines(journal) if line["level"] == "warning"]
    assert datetime.fromisoformat(line.pop("time")).tzinfo == UTC
    assert line.pop("pid") > 0
    assert line == {
        "level": "warning", "logger": LOG.name, "message": "3 shards", "night_key": "ab12", "stage": "train",
        "mlflow_run_id": "m", "prefect_flow_run_id": "f", "n": 3,
    }  # fmt: skip


def test_a_stage_tells_its_beginning_its_end_and_its_failure(journal):
    """With its duration; the run of a stage ends with it, and the first stage that failed is remembered."""
    with journal.opened(mlflow_run_id="night"):
        with journal.stage("embed"):
            journal.tell(mlflow_run_id="embed")
        with pytest.raises(ValueError, match="ada"), journal.stage("train"), journal.stage("inner"):
            raise ValueError("ada")
        LOG.info("after")
    told = [(line["message"].partition(" at ")[0], line.get("stage"), line["mlflow_run_id"]) for line in lines(journal)]
    assert told[:2] == [("stage began", "embed", "night"), ("stage done", "embed", "embed")]
    assert ("stage failed: ValueError", "train", "night") in told
    assert told[-1] == ("after", None, "night")
    assert journal.failed_stage == "inner"
    assert "ada" not in (journal.folder / "2026-03-01.jsonl").read_text()


def test_a_journal_that_is_not_open_writes_nothing(journal, capsys):
    """Nothing is set up by making one, and everything is as before after it was closed."""
    logger = logging.getLogger("personalgen")
    before = (logger.level, logger.propagate, list(logger.handlers))
    with journal.opened(), journal.opened(day="2026-03-01"):
        LOG.info("inside")
    LOG.info("outside")
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
    assert [line["message"] for line in lines(journal)] == ["inside"]
    assert journal.fields == {}


def test_libraries_are_not_written_down(journal):
    """What others say may hold values of rows."""
    with journal.opened():
        logging.getLogger("sqlalchemy").error("user ada")
    assert lines(journal) == []


def test_warnings_are_on_the_terminal_too(journal, capsys):
    """As plain lines; what is information is in the file alone."""
    with journal.opened():
        LOG.info("quiet")
        LOG.warning("loud")
    assert capsys.readouterr().err == "loud\n"


def test_passwords_are_left_out_of_lines(journal):
    """Whoever logs a URL."""
    with journal.opened():
        LOG.info("reading %s", "postgresql://me:s3cret@db/x")
    assert [line["message"] for line in lines(journal)] == ["reading postgresql://me:***@db/x"]


def test_old_days_are_removed_and_what_is_not_ours_stays(journal):
    """A file a day; those of more than keep_days ago go when a journal is opened."""
    journal.folder.mkdir(parents=True)
    for days in (0, 7, 8, 400):
        (journal.folder / f"{NOON - timedelta(days=days):%Y-%m-%d}.jsonl").write_text("{}\n")
    (journal.folder / "2020-notes.jsonl").write_text("mine")
    with journal.opened():
        pass
    assert sorted(path.name for path in journal.folder.iterdir()) == [
        "2020-notes.jsonl", "2026-02-22.jsonl", "2026-03-01.jsonl",
    ]  # fmt: skip


def test_a_journal_that_cannot_be_written_stops_nothing(journal, capsys):
    """A file in the place of the folder: logging says so on stderr, and the night goes on."""
    journal.folder.write_text("mine")
    with journal.opened(), journal.stage("train"):
        LOG.info("said")
    assert journal.folder.read_text() == "mine"
    assert "Logging error" in capsys.readouterr().err


def test_lines_of_many_threads_are_whole(journal):
    """Each of 400 lines can be parsed."""
    with journal.opened():
        threads = [Thread(target=lambda: [LOG.info("x" * 5000) for _ in range(50)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(lines(journal)) == 400
