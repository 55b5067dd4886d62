from dataclasses import replace

from personalgen.steps.evaluate import Evaluated
from personalgen.steps.night import Night
from personalgen.steps.promote import Decided
from personalgen.steps.register import Registered
from personalgen.steps.verdict import verdict_markdown

NIGHT = Night("k" * 32, 2, "/n", "/p", "2026-01-02T00:00:00+00:00", "2026-01-01", "r", "shop", 0, 0, 0, 0, 0)
PAIRED = {"fit_diff": 0.1, "fit_low": 0.05, "fit_high": 0.15, "n_users": 40.0}
EVALUATED = Evaluated({}, {}, "champion", PAIRED, "", "judge", "")
DECIDED = Decided(
    promote=False, reasons=("KID regressed", "fit improved"), model_version_id=1, version=1, live_before=1
)
REGISTERED = Registered(2, 2, "m", "s")


def test_a_verdict_names_reasons_and_paired_figures():
    """A heading, every reason, and a line per difference with its interval; counts are no difference."""
    told = verdict_markdown(NIGHT, REGISTERED, EVALUATED, DECIDED).splitlines()
    assert told[0] == "# v2: held"
    assert {"- KID regressed", "- fit improved"} <= set(told)
    assert [line for line in told if line.startswith("| fit")] == ["| fit | +0.1 | +0.05 to +0.15 |"]
    assert not any("Canary" in line or "n_users" in line for line in told)


def test_a_canarys_figures_are_a_table_of_their_own():
    """Beside those of the gate."""
    canary = {"n_users": 9, "between_diff": -0.2, "between_low": -0.3, "between_high": -0.1}
    told = verdict_markdown(NIGHT, REGISTERED, EVALUATED, replace(DECIDED, promote=True, canary=canary))
    assert told.startswith("# v2: promoted")
    assert "| between | -0.2 | -0.3 to -0.1 |" in told.split("## Canary")[1]


def test_a_first_night_has_no_champion_to_differ_from():
    """What training started from, a snapshot, is none."""
    told = verdict_markdown(NIGHT, REGISTERED, EVALUATED, replace(DECIDED, live_before=0))
    assert "live before it: nothing" in told
    assert "##" not in told


def test_a_night_that_did_not_train_says_so():
    """There is no version to name, and why."""
    told = verdict_markdown(NIGHT, Registered(0, 0, "", ""), replace(EVALUATED, paired={}), DECIDED)
    assert told.startswith("# no challenger")
