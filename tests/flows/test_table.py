"""A night whose operating point is chosen on a curve, and its model in one table with honest baselines."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from personalgen.generation.options import OperatingPoint
from personalgen.steps import Decided, Evaluated, Generated, Trained, standings
from personalgen.steps.contestants import FOLDER, TRAINED, UNCONDITIONAL
from personalgen.steps.extremes import EXTREMES
from personalgen.steps.models import newest_night
from personalgen.steps.night import stage_result
from personalgen.steps.operating_points import CURVE
from personalgen.steps.table import (
    FOUR_LIKES,
    HELD_OUT,
    NEAREST,
    OURS,
    PARTS,
    RETURNED,
    SEARCHED,
    SEEN,
    TOLD_NOTHING,
)

pytestmark = pytest.mark.timeout(300, func_only=True)  # the night and the table are made once, by the first test

CURVE_SETTINGS = (
    "evaluation.truncations=[0.5, 0.25]",
    "evaluation.guidances=[1.5]",
    # people enough that some choose the point and others judge the choice
    "world.folder=data/more",
    "world.history.n_users=300",
    "evaluation.n_users=48",
    # four training steps draw one picture for all
    "gate.min_diversity=0.0",
    "gate.max_memorised=1.0",
)


@pytest.fixture(scope="module")
def home(new_home, plain_nightly):
    """A home of its own with one night, whose point was chosen among six."""
    made = new_home()
    plain_nightly(made.workspace(*CURVE_SETTINGS))
    return made


@pytest.fixture(scope="module")
def night(home):
    return newest_night(home.workspace(*CURVE_SETTINGS))


@pytest.fixture(scope="module")
def rows(home, night):
    """The whole table."""
    found, embedded = night
    return standings(home.workspace(*CURVE_SETTINGS), found, embedded, stage_result(found, Trained))


def test_all_points_of_the_curve_are_measured(night):
    """Three truncations by two guidances, each with KID and gain and their intervals."""
    points = json.loads((night[0].path / CURVE).read_text())
    assert {(point["guidance"], point["truncation_psi"]) for point in points} == {
        (guidance, psi) for guidance in (1.0, 1.5) for psi in (1.0, 0.5, 0.25)
    }
    assert all(point["kid_low"] <= point["kid"] <= point["kid_high"] for point in points)
    assert all(point["gain_low"] <= point["gain"] <= point["gain_high"] for point in points)


def test_the_chosen_point_is_measured_drawn_at_and_released(home, night):
    """The rule's point is that of the evaluation, the verdict, the images and the release, with its reason."""
    evaluated, decided, generated = (stage_result(night[0], kind) for kind in (Evaluated, Decided, Generated))
    assert "points with a KID up to" in evaluated.point_because
    point = OperatingPoint(**evaluated.operating_point)
    assert decided.promote
    assert evaluated.challenger["n_users"] < 30  # of 48, whoever did not choose
    assert decided.operating_point == evaluated.operating_point
    assert generated.operating_point_digest == point.digest()
    (live,) = home.ask("select operating_point_digest as digest from live_release")
    assert live["digest"] == point.digest()


def test_the_report_shows_whom_it_suits_and_the_model_s_card(night, home):
    """The page has the best, median and worst people, the curve, and where the model is drawn."""
    assert (night[0].path / EXTREMES).is_file()
    (page,) = (home.path / "data" / "reports").glob("*/report.html")
    text = page.read_text()
    assert "Whom it suits best, middling and worst" in text
    assert "Model card" in text
    assert "points with a KID up to" in text
    assert text.count("· 0.25") == 2, "two points of the curve have this truncation"
    for measure in ("SSIM", "MS-SSIM", "Colour distance", "Texture", "Content distance", "Style distance"):
        assert f"{measure}" in text


def test_every_way_stands_in_the_table(rows):
    """All baselines and our model for people held out; ours and the unconditional net for the other groups."""
    found = {(row.group, row.name) for row in rows}
    ours = {OURS, *PARTS, UNCONDITIONAL}
    assert found == {(HELD_OUT, name) for name in {*TRAINED, *ours, TOLD_NOTHING, NEAREST, RETURNED, SEARCHED}} | {
        (group, name) for group in (SEEN, FOUR_LIKES) for name in ours
    }


def test_known_answers_stand_in_the_table(rows):
    """The unconditional net wins half against itself; what returns training pictures looks as real ones do."""
    found = {(row.group, row.name): row.figures for row in rows}
    assert found[HELD_OUT, UNCONDITIONAL]["wins_by_truth"] == 0.5
    assert found[HELD_OUT, RETURNED]["memorised"] == 1
    assert found[HELD_OUT, RETURNED]["precision"] > 0.8
    assert abs(found[HELD_OUT, RETURNED]["kid"]) < 0.2 * found[HELD_OUT, OURS]["kid"]


def test_real_likes_are_preferred_by_the_truth(rows):
    """The history's own pictures are as personal as held-out likes, where four training steps are not."""
    found = {(row.group, row.name): row.figures for row in rows}
    assert found[SEEN, OURS]["true_npg_high"] < 0.6 < found[HELD_OUT, RETURNED]["true_npg_high"]


def test_a_search_costs_many_passes(rows):
    """Ten steps through generator and scorer, forth and back, take at least ten times a pass."""
    found = {(row.group, row.name): row.cpu_ms_per_image for row in rows}
    assert found[HELD_OUT, SEARCHED] > 10 * found[HELD_OUT, OURS]


def trained(home):
    """Return when each baseline was last trained."""
    return {path: path.stat().st_mtime_ns for path in (home.path / "data" / FOLDER).glob("*/checkpoint.safetensors")}


@pytest.fixture(scope="module")
def again(home, rows):
    """The table a second time, by `evaluate --table --json`, and what was trained before and after it."""
    before = trained(home)
    told = home.tell("evaluate", "--table", "--json", overrides=CURVE_SETTINGS)
    return before, json.loads(told.out), trained(home)


def test_baselines_are_trained_once(rows, again):
    """A second table trains nothing, and says the same but for the time."""
    before, raw, after = again
    assert len(before) == len(TRAINED)
    assert after == before
    timeless = [asdict(row) | {"cpu_ms_per_image": 0.0} for row in rows]
    assert [row | {"cpu_ms_per_image": 0.0} for row in raw] == timeless


def test_the_command_prints_the_table(home, rows, again):
    """`evaluate --table` shows a line for each row, and where the pictures lie; --json tells all figures."""
    told = home.tell("evaluate", "--table", overrides=CURVE_SETTINGS)
    assert told.code == 0
    assert sum(OURS in line for line in told.out.splitlines()) >= 3
    sheet = Path(told.out.splitlines()[-1].rpartition(": ")[2])
    assert sheet.is_file()
    raw = again[1]
    assert len(raw) == len(rows)
    assert "true_npg" in raw[0]["figures"]
