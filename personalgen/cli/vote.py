"""`evaluate --vote`: asks people which of two pictures they prefer, in a terminal or by a table; says the result."""

import getpass
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personalgen.cli.terminal import (
    options_text,
    parse_instant,
    workspace,
)

if TYPE_CHECKING:
    from datetime import datetime

    from personalgen.catalogue.facts import Winner
    from personalgen.steps import Evaluated, Night, Outcome, Pairs, Trained, Workspace

VoteOption = Annotated[bool, typer.Option("--vote", help="Ask people: blind pairs of challenger and what was before.")]
ChoicesOption = Annotated[
    Path | None, typer.Option("--choices", help="With --vote: store this filled table.", show_default=False)
]
VoterOption = Annotated[
    str,
    typer.Option("--voter", help="With --vote: who chooses; default: the login name. Hashed as --user where ids are."),
]
PairsOption = Annotated[int, typer.Option("--pairs", min=1, help="With --vote: most pairs, when they are first made.")]

_ANSWERS: "dict[str, Winner]" = {"l": "left", "r": "right", "t": "tie"}
_SKIP, _STOP = "s", "q"


def ask_people(
    config: Path | None,
    overrides: Sequence[str] | None,
    as_of: str | None,
    *,
    choices: Path | None,
    voter: str,
    pairs: int,
    as_json: bool,
) -> None:
    """Prepare tonight's blind pairs, or store a filled table; ask in a terminal; say what people prefer."""
    name, instant = voter.strip() or getpass.getuser(), parse_instant(as_of)
    with workspace(config, overrides, existing=True) as opened:
        asked = _Asked.by(opened, choices) if choices else _Asked.of(opened, instant, name, pairs)
        if choices:
            _store(asked, choices)
        elif sys.stdin.isatty() and sys.stdout.isatty():
            ask(asked, name)
        facts = asked.facts() if as_json else asked.lines(options_text(config, overrides))
    width = max(map(len, facts))
    told = "\n".join(f"{name:<{width}}  {text}" for name, text in facts.items())
    typer.echo(json.dumps(facts, ensure_ascii=False, indent=2) if as_json else told)


@dataclass(frozen=True)
class _Asked:
    """The pairs of a night, and where choices about them go."""

    opened: "Workspace"
    night: "Night"
    evaluated: "Evaluated"
    trained: "Trained"
    pairs: "Pairs"

    @classmethod
    def of(cls, opened: "Workspace", as_of: "datetime | None", voter: str, n_pairs: int) -> "_Asked":
        """Return the night's pairs; making them keeps other nights waiting, asking does not."""
        from personalgen import steps

        with opened.only_night(is_night=False):
            needs = (steps.Evaluated, steps.Embedded, steps.Trained)
            night = steps.find_night(opened, as_of=as_of, needs=needs)
            evaluated = steps.stage_result(night, steps.Evaluated)
            embedded, trained = steps.stage_result(night, steps.Embedded), steps.trained_tonight(night)
            pairs = steps.prepare_pairs(opened, night, embedded, trained, evaluated, n_pairs=n_pairs, voter=voter)
        return cls(opened, night, evaluated, trained, pairs)

    @classmethod
    def by(cls, opened: "Workspace", table: Path) -> "_Asked":
        """Return the pairs that a filled table is about, of whatever night."""
        from personalgen import steps

        night, pairs = steps.pairs_of_table(opened, table)
        evaluated, trained = steps.stage_result(night, steps.Evaluated), steps.trained_tonight(night)
        return cls(opened, night, evaluated, trained, pairs)

    def facts(self) -> dict[str, Any]:
        """Return where the pairs lie and what the choices so far say, as JSON."""
        from personalgen.steps import outcome

        found = outcome(self.opened, self.pairs)
        facts = {"folder": str(self.pairs.folder), "n_pairs": len(self.pairs.pairs)}
        return facts | (asdict(found) if found else {}) | {"gate": self._gate()}

    def lines(self, options: str) -> dict[str, str]:
        """Return the same as text by heading, with the command that stores a filled table."""
        from personalgen.steps import outcome

        found, folder = outcome(self.opened, self.pairs), self.pairs.folder
        lines = {
            "pairs": f"{len(self.pairs.pairs)} in {folder / 'pairs.html'}",
            "table": f"{folder / 'choices.csv'}: left, right or tie in each row; a copy for each voter",
            "then": f"personalgen evaluate --vote --choices FILE{options}",
        }
        return lines | (outcome_lines(found) if found else {"choices": "none yet"}) | {"gate": self._gate()}

    def _gate(self) -> str:
        """Return what the gate would say now."""
        from personalgen.steps.promote import gate_now

        if not self.opened.settings.gate.min_votes:
            return "asks for no votes (gate.min_votes = 0)"
        verdict = gate_now(self.opened, self.evaluated, self.trained.generator_sha256)
        return f"would {'promote' if verdict.promote else 'hold'} now: {'; '.join(verdict.reasons)}"


def ask(asked: _Asked, voter: str) -> None:
    """Ask a voter pair by pair, but for those already answered; each answer is stored at once."""
    from personalgen.catalogue.comparisons import comparisons
    from personalgen.steps import store_choices
    from personalgen.steps.heard import name_heard

    opened, night, pairs, known = asked.opened, asked.night, asked.pairs, name_heard(asked.opened, voter)
    stored = comparisons(opened.engine, between=(pairs.challenger, pairs.before), night_id=night.night_id)
    answered = {row.user_id for row in stored if row.voter == known}
    page = pairs.folder / "pairs.html"
    typer.echo(f"{len(pairs.pairs)} pairs, {len(answered)} of them answered by {voter}; all on one page: {page}")
    for pair in pairs.pairs:
        if pair.user_id in answered:
            continue
        answer = _answer(f"{pairs.folder / pair.picture}\n  l left, r right, t tie, s skip, q stop: ")
        if answer == _STOP:
            break
        if answer != _SKIP:
            store_choices(opened, night, [pairs.facts(pair, _ANSWERS[answer], voter=known, source="terminal")])


def _answer(question: str) -> str:
    """Return one of the letters; the end of the input stops."""
    while True:
        try:
            answer = input(question).strip().lower()
        except EOFError:
            return _STOP
        if answer in {*_ANSWERS, _SKIP, _STOP}:
            return answer


def _store(asked: _Asked, table: Path) -> None:
    from personalgen.steps import read_choices, store_choices
    from personalgen.steps.heard import names_heard

    facts = read_choices(asked.pairs, table)
    heard = names_heard(asked.opened, (choice.voter for choice in facts))
    n_left_out = sum(choice.voter not in heard for choice in facts)
    n_new = store_choices(asked.opened, asked.night, facts)
    left_out = f"; {n_left_out} left out: who chose was forgotten" if n_left_out else ""
    typer.echo(f"{table}: {len(facts)} choices, {n_new} of them new or changed{left_out}", err=True)


def outcome_lines(found: "Outcome") -> dict[str, str]:
    """Return what people's choices say, by heading."""
    lines: dict[str, Any] = {
        "choices": f"{found.n_choices} by {found.n_voters} voters for {found.n_people} people, {found.n_ties} ties"
    }
    lines |= {name: f"strength {interval}" for name, interval in found.strengths.items()}
    lines["preferred"] = f"the challenger with probability {found.preferred}; 0.5 is no preference"
    if found.bias:
        odds = f"odds of that by chance {found.bias.p_value:.3g}"
        lines["position"] = f"left in {found.bias.left} of {found.bias.n_decided} choices without a tie; {odds}"
    share, chance = found.agreement.share, found.agreement.by_chance
    if share is not None:
        lines["agreement"] = f"{share:.3g} of {found.agreement.n_repeated} pairs of voters; by chance {chance:.3g}"
    return lines
