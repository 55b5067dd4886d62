"""One plain function per verb of the night: typed inputs, a frozen dataclass of ids, paths and numbers as result."""

from personalgen.steps.backfill import (
    Backfilled,
    conclude_past,
    draw_past,
    drop_tables,
    look_back,
    past_summary,
    prepare_past,
)
from personalgen.steps.canary import Canaried, canary
from personalgen.steps.choices import Outcome, Pairs, outcome, read_choices, store_choices
from personalgen.steps.delete_night import DeletedNight, delete_night
from personalgen.steps.embed import Embedded, embed
from personalgen.steps.evaluate import Evaluated, evaluate
from personalgen.steps.forget import ForgottenPerson, finish_erasures, forget, forget_people
from personalgen.steps.generate import Generated, generate
from personalgen.steps.generate_only import keep_live, report_live
from personalgen.steps.night import Night, attempt, is_done, stage_result
from personalgen.steps.own_identity import user_named
from personalgen.steps.past_days import MIDNIGHT, PastDay, days_to_backfill
from personalgen.steps.prepare import find_night, prepare
from personalgen.steps.promote import Decided, promote
from personalgen.steps.prune import Pruned, prune
from personalgen.steps.rebuild import Rebuilt, rebuild
from personalgen.steps.recommend import Recommended, recommend
from personalgen.steps.register import Registered, register
from personalgen.steps.release import Released, release
from personalgen.steps.repair import Repaired, repair
from personalgen.steps.report import Reported, report, summary
from personalgen.steps.score import Scored, score
from personalgen.steps.sweep import Combination, Swept, combinations, sweep
from personalgen.steps.table import Standing, standings
from personalgen.steps.train import Trained, train, trained_tonight, write_job
from personalgen.steps.verdict import verdict_markdown
from personalgen.steps.vote import pairs_of_table, prepare_pairs
from personalgen.steps.watch import tell_night, watched
from personalgen.steps.workspace import Workspace

__all__ = [
    "MIDNIGHT",
    "Backfilled",
    "Canaried",
    "Combination",
    "Decided",
    "DeletedNight",
    "Embedded",
    "Evaluated",
    "ForgottenPerson",
    "Generated",
    "Night",
    "Outcome",
    "Pairs",
    "PastDay",
    "Pruned",
    "Rebuilt",
    "Recommended",
    "Registered",
    "Released",
    "Repaired",
    "Reported",
    "Scored",
    "Standing",
    "Swept",
    "Trained",
    "Workspace",
    "attempt",
    "canary",
    "combinations",
    "conclude_past",
    "days_to_backfill",
    "delete_night",
    "draw_past",
    "drop_tables",
    "embed",
    "evaluate",
    "find_night",
    "finish_erasures",
    "forget",
    "forget_people",
    "generate",
    "is_done",
    "keep_live",
    "look_back",
    "outcome",
    "pairs_of_table",
    "past_summary",
    "prepare",
    "prepare_pairs",
    "prepare_past",
    "promote",
    "prune",
    "read_choices",
    "rebuild",
    "recommend",
    "register",
    "release",
    "repair",
    "report",
    "report_live",
    "score",
    "stage_result",
    "standings",
    "store_choices",
    "summary",
    "sweep",
    "tell_night",
    "train",
    "trained_tonight",
    "user_named",
    "verdict_markdown",
    "watched",
    "write_job",
]
