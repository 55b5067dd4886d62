from dataclasses import replace
from datetime import UTC, datetime

import pytest

from personalgen.status.needs import Facts, NightLine, needs

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DONE = NightLine(
    night_id=7, kind="nightly", day="2026-03-01", status="done", attempts=1, began=NOON, sec=60.0, n_images=10,
    outcome="promoted", is_evaluated=True, health="ok",
    as_of="2026-03-01T02:00:00+00:00",
)  # fmt: skip
FINE = Facts(
    newest=(DONE,), is_running=False, refused=(), damaged_shards=0, near_quarantine=(), free_bytes=50 << 30,
    total_bytes=100 << 30,
)  # fmt: skip


def asked(**changes):
    """Return (what, found, command) of what a home with these changes needs."""
    return [(need.what, need.found, need.command) for need in needs(replace(FINE, **changes))]


def test_a_home_that_is_fine_needs_nobody():
    """Also one without a night, one whose night runs now, and one that held a challenger with good reason."""
    assert asked() == []
    assert asked(newest=()) == []
    assert asked(newest=(replace(DONE, status="running"),), is_running=True) == []
    assert asked(newest=(replace(DONE, outcome="held"),)) == []
    assert asked(newest=(replace(DONE, status="failed"),)) != []


@pytest.mark.parametrize(
    ("changes", "what", "found", "command"),
    [
        ({"refused": ("users.volume",)}, "data", "stopped by users.volume", "--accept users.volume"),
        ({"newest": (replace(DONE, status="failed"),)}, "night", "night 7 of 2026-03-01 failed", "personalgen nightly"),
        ({"newest": (replace(DONE, status="running"),)}, "night", "cut off", "personalgen nightly"),
        (
            {"newest": (replace(DONE, kind="generate", status="failed"),)},
            "night",
            "failed",
            "personalgen generate-only",
        ),
        ({"overdue_since": NOON}, "schedule", "2026-03-01T12:00", "personalgen serve"),
        (
            {"newest": (replace(DONE, outcome="held", is_evaluated=False),)},
            "evaluation",
            "held",
            "personalgen evaluate",
        ),
        ({"damaged_shards": 2}, "shards", "2 are missing", "personalgen doctor"),
        ({"near_quarantine": ("items: 4.0% set aside",)}, "quarantine", "items: 4.0%", "personalgen health"),
        ({"alias": "champion is 1, and 2 is live"}, "registry", "champion is 1", "personalgen models list"),
        ({"free_bytes": 1 << 30}, "disk", "1.0 GiB free", "nights delete"),
        ({"free_bytes": 4 << 30}, "disk", "4.0 GiB free", "nights delete"),
    ],
)
def test_each_thing_is_told_with_its_command(changes, what, found, command):
    """One line each: what it is, what was found, what to run."""
    ((its_what, its_found, its_command),) = asked(**changes)
    assert its_what == what
    assert found in its_found
    assert command in its_command


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, "personalgen nightly --as-of 2026-03-01T02:00:00+00:00 goes on"),
        ({"kind": "retrain"}, "personalgen retrain --as-of 2026"),
        ({"kind": "retrain", "is_warm": True}, "personalgen retrain --warm --as-of 2026"),
        ({"kind": "generate"}, "personalgen generate-only --as-of 2026"),
        ({"kind": "backfill"}, "personalgen backfill with the same days"),
    ],
)
def test_the_command_goes_on_with_that_night(changes, command):
    """By its kind and its instant: without that a scheduled night would be followed by another one."""
    ((_, _, its_command),) = asked(newest=(replace(DONE, status="failed", **changes),))
    assert its_command.startswith(command)


def test_a_night_that_another_one_found_dead_needs_a_person():
    """The backfill after it closed it as killed; both are told of while they wait."""
    dead = replace(DONE, status="killed")
    assert [what for what, _, _ in asked(newest=(dead, replace(DONE, night_id=8, kind="backfill")))] == ["night"]
    assert len(asked(newest=(dead, replace(DONE, night_id=8, kind="backfill", status="failed")))) == 2


def test_the_most_urgent_comes_first():
    """What stops nights before what will."""
    found = asked(refused=("users.volume",), free_bytes=0, newest=(replace(DONE, status="failed"),))
    assert [what for what, _, _ in found] == ["data", "night", "disk"]


@pytest.mark.parametrize(
    "changes",
    [
        {"refused": ("users.volume",)},
        {"newest": (replace(DONE, status="failed"),)},
        {"newest": (replace(DONE, status="running", kind="backfill"),)},
        {"overdue_since": NOON},
        {"newest": (replace(DONE, outcome="held", is_evaluated=False),)},
        {"damaged_shards": 2},
        {"near_quarantine": ("items: 4.0% set aside",)},
        {"alias": "champion is 1, and 2 is live"},
        {"free_bytes": 1 << 30},
    ],
)
def test_each_command_looks_at_the_same_settings(changes):
    """Whoever asked with options would look at another home without them."""
    ((_, _, bare),) = asked(**changes)
    ((_, _, command),) = asked(**changes, options=" --set home=/x")
    assert command.replace(" --set home=/x", "") == bare
    assert command.count(" --set home=/x") == bare.count("personalgen ") > 0
