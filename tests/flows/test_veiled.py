"""What Prefect keeps of an error, and what the caller of a night hears of it."""

import pickle

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from flows import runners
from flows.nightly import ONCE, as_task, may_pass
from flows.veiled import VeiledError, shown, unveiled, veiled
from personalgen.config import BucketOptions
from personalgen.errors import CatalogueError, DataError, SourceError

pytestmark = pytest.mark.timeout(110, func_only=True)

ERRORS = {
    "ours": DataError("1 row cannot be used (first in row 83: timestamp = 'ada'). Mend it."),
    "foreign": KeyError("ada"),
}


def fails(kind):
    """Fail as a step does that has seen a row."""
    raise ERRORS[kind]


def fails_in_a_bucket(job, number):
    """Fail as the work on a bucket does."""
    raise ERRORS[job]


step = as_task(fails, ONCE)


@flow(persist_result=False)
@veiled
def whole(seen, kind):
    """Run a step that fails, as a night does, and remember what the night hears of it."""
    try:
        step(kind)
    except Exception as error:
        seen.append(error)
        raise


def texts():
    """Return all that the server keeps of the states of runs."""
    with get_client(sync_client=True) as client:
        runs = [*client.read_flow_runs(limit=200), *client.read_task_runs(limit=200)]
    return [f"{run.state.name} {run.state.message}" for run in runs]


@pytest.mark.parametrize("kind", ERRORS)
def test_prefect_keeps_no_value_and_the_caller_has_the_error(kind):
    """The night's own code and its caller have the very error; the server tells kind and words without values."""
    seen = []
    with pytest.raises(type(ERRORS[kind])) as caught, unveiled():
        whole(seen, kind)
    assert seen == [ERRORS[kind]]
    assert caught.value is ERRORS[kind]
    kept = [text for text in texts() if text.startswith("Failed") and type(ERRORS[kind]).__name__ in text]
    assert len(kept) >= 2, "of the flow and of the task"
    assert [text for text in texts() if "ada" in text] == []


def test_a_bucket_that_fails_in_a_worker_is_told_as_it_is(monkeypatch):
    """Its error comes back, also through the pickle of the process that worked on it."""
    monkeypatch.setattr(runners, "bucket", runners.bucket.with_options(retries=0))
    run = flow(veiled(runners.by_tasks)).with_options(task_runner=runners.task_runner(BucketOptions(runner="threads")))
    with pytest.raises(DataError, match="row 83"), unveiled():
        run(fails_in_a_bucket, "ours", [0])
    back = pickle.loads(pickle.dumps(VeiledError(ERRORS["ours"])))
    assert str(back) == "DataError: 1 row cannot be used …. Mend it."
    assert str(back.error) == str(ERRORS["ours"])


def test_without_prefect_a_step_raises_its_own_error():
    """Commands that run one stage know nothing of Prefect."""
    with pytest.raises(DataError):
        step.fn("ours")


@pytest.mark.parametrize(("error", "tried_again"), [(SourceError("gone"), False), (CatalogueError("locked"), True)])
def test_whether_another_try_may_help_is_asked_of_the_error_itself(error, tried_again):
    """As Prefect hands it on, veiled."""
    from prefect.states import Failed

    assert may_pass(None, None, Failed(data=VeiledError(error))) is tried_again


def test_a_run_of_a_deployment_shows_its_error_on_the_terminal(capsys):
    """The log of `serve` has it in full, with its trace."""
    with pytest.raises(DataError):
        shown(fails)("ours")
    assert "timestamp = 'ada'" in capsys.readouterr().err
