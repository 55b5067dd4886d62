"""Blind choices: which model is left and right in a pair, the table that people fill in, and what the choices say."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from personalgen.artifacts import read_json, weights_key, write_json
from personalgen.catalogue import read
from personalgen.catalogue.comparisons import comparisons, record_comparisons
from personalgen.catalogue.facts import ComparisonFacts, VoteSource, Winner
from personalgen.catalogue.rows import BlindChoice
from personalgen.errors import DataError, NotFoundError
from personalgen.evaluation import (
    Choice,
    Interval,
    PositionBias,
    VoterAgreement,
    bradley_terry,
    position_bias,
    voter_agreement,
)
from personalgen.registry.promotion import Votes
from personalgen.steps.heard import names_heard
from personalgen.steps.night import Night
from personalgen.steps.workspace import Workspace

KEY, TABLE, PAGE = "key.json", "choices.csv", "pairs.html"
COLUMNS = ("pair", "choice", "voter")
WINNERS: tuple[Winner, ...] = get_args(Winner)
_LONGEST_VOTER = 128


@dataclass(frozen=True)
class Pair:
    """One pair: its name, for whom, and whose picture is on which side."""

    name: str
    """What the table calls it: how the night's folder begins, and a number, so that no two nights share a name."""
    user_id: str
    left: int
    """Digest of the generator that drew the left picture."""
    right: int

    @property
    def picture(self) -> str:
        """The PNG's name in the folder."""
        return f"pair-{self.name}.png"


@dataclass(frozen=True)
class Pairs:
    """The pairs of a night, with the key that voters do not look at."""

    folder: Path
    challenger: int
    """Digest of tonight's generator."""
    before: int
    """Digest of the champion, or of the snapshot that tonight's training started from."""
    before_is: str
    """"champion" or "snapshot"."""
    operating_point_digest: int
    pairs: tuple[Pair, ...]

    @classmethod
    def load(cls, folder: Path) -> "Pairs":
        """Return what `save` wrote.

        Raises:
            NotFoundError: the folder holds no pairs, or not all of them yet.
        """
        if not (folder / KEY).is_file():
            raise NotFoundError(f"There are no pairs in {folder}: run `personalgen evaluate --vote`. Nothing was read.")
        facts = read_json(folder / KEY)
        return cls(folder=folder, **{**facts, "pairs": tuple(Pair(**pair) for pair in facts["pairs"])})

    def save(self) -> None:
        """Write the key, last of all that the folder holds."""
        write_json(self.folder / KEY, {name: value for name, value in asdict(self).items() if name != "folder"})

    def facts(self, pair: Pair, winner: Winner, *, voter: str, source: VoteSource) -> ComparisonFacts:
        """Return a choice about one pair as the catalogue takes it.

        Raises:
            DataError: the voter's name is empty or too long.
        """
        if not 0 < len(voter) <= _LONGEST_VOTER:
            raise DataError(f"A voter has 1 to {_LONGEST_VOTER} characters, found {len(voter)}. Nothing was stored.")
        return ComparisonFacts(
            user_id=pair.user_id,
            left_generator_digest=pair.left,
            right_generator_digest=pair.right,
            operating_point_digest=self.operating_point_digest,
            winner=winner,
            voter=voter,
            source=source,
        )


@dataclass(frozen=True)
class Outcome:
    """What all stored choices between a night's two models say."""

    n_choices: int
    n_ties: int
    n_voters: int
    n_people: int
    strengths: dict[str, Interval]
    """Bradley-Terry strengths: "challenger", and "champion" or "snapshot"; logits around 0."""
    preferred: Interval
    """Probability that the challenger is preferred."""
    bias: PositionBias | None
    """None where every choice is a tie."""
    agreement: VoterAgreement


def choices_table(pairs: Pairs, voter: str = "") -> str:
    """Return the table to fill in, as CSV: one row a pair, the choice left empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([COLUMNS, *((pair.name, "", voter) for pair in pairs.pairs)])
    return stream.getvalue()


def read_choices(pairs: Pairs, path: Path, *, source: VoteSource = "terminal") -> list[ComparisonFacts]:
    """Return the choices of a filled table; rows without a choice are left out.

    Raises:
        DataError: a row names no pair, no side or no voter, or contradicts an earlier one; all of them in one message.
        NotFoundError: there is no such file.
    """
    return _facts_of(pairs, table_rows(path), path, source)


def table_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of a table of choices with their line numbers.

    Raises:
        DataError: it is no table, or has other columns.
        NotFoundError: there is no such file.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no table {path}. Nothing was stored.")
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
    except UnicodeDecodeError:
        raise DataError(f"{path} is no table: a CSV file in UTF-8 is expected. Nothing was stored.") from None
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise DataError(
            f"{path} must have the columns {', '.join(COLUMNS)}, found {', '.join(reader.fieldnames or ()) or 'none'}. "
            "Nothing was stored."
        )
    return [(reader.line_num, row) for row in reader]


def store_choices(workspace: Workspace, night: Night, facts: Sequence[ComparisonFacts]) -> int:
    """Write choices about a night's pairs to the catalogue; return how many are new or changed.

    Voters are named as users are (`heard`); those of voters who were forgotten are left out.

    Raises:
        ConfigError: ids are hashed, a voter's is plain, and the salt is missing. Nothing was stored.
    """
    ids = names_heard(workspace, (choice.voter for choice in facts))
    heard = [replace(choice, voter=ids[choice.voter]) for choice in facts if choice.voter in ids]
    return record_comparisons(workspace.engine, night.night_id, heard, at=workspace.now())


def outcome(workspace: Workspace, pairs: Pairs) -> Outcome | None:
    """Return what the stored choices between the two models of these pairs say; None where there is none."""
    names = {str(pairs.challenger): "challenger", str(pairs.before): pairs.before_is}
    rows = _stored(workspace, pairs.challenger, pairs.before)
    choices = [_choice(row, names) for row in rows]
    if not choices:
        return None
    options = workspace.settings.evaluation
    found = bradley_terry(choices, options=options)
    return Outcome(
        n_choices=found.n_choices,
        n_ties=found.n_ties,
        n_voters=found.n_voters,
        n_people=found.n_people,
        strengths=dict(zip(found.models, found.strengths, strict=True)),
        preferred=found.preference("challenger", over=pairs.before_is),
        bias=position_bias(choices, confidence=options.confidence) if found.n_ties < len(choices) else None,
        agreement=voter_agreement(choices),
    )


def votes_between(workspace: Workspace, challenger_sha256: str, champion_id: int) -> Votes | None:
    """Return what people chose between two models at tonight's operating point, as the gate reads it.

    None where the gate asks for no votes, there is no champion, or nobody chose.
    """
    if not (workspace.settings.gate.min_votes and champion_id):
        return None
    challenger = weights_key(challenger_sha256)
    champion = read.model_by_id(workspace.engine, champion_id).generator_digest
    choices = [_choice(row, {}) for row in _stored(workspace, challenger, champion)]
    if not choices:
        return None
    found = bradley_terry(choices, options=workspace.settings.evaluation)
    preferred = found.preference(str(challenger), over=str(champion))
    return Votes(found.n_choices, preferred.value, preferred.low, preferred.high)


def _stored(workspace: Workspace, challenger: int, before: int) -> list[BlindChoice]:
    """Return the choices between two generators at the settings' operating point: other pictures are not asked for."""
    point = workspace.settings.generation.operating_point.digest()
    found = comparisons(workspace.engine, between=(challenger, before))
    return [row for row in found if row.operating_point_digest == point]


def _choice(row: BlindChoice, names: Mapping[str, str]) -> Choice:
    left, right = str(row.left_generator_digest), str(row.right_generator_digest)
    return Choice(names.get(left, left), names.get(right, right), row.winner, row.voter, row.user_id)


def _facts_of(
    pairs: Pairs, rows: Iterable[tuple[int, Mapping[str, Any]]], path: Path, source: VoteSource
) -> list[ComparisonFacts]:
    """Return the filled rows as facts, or refuse the table with every fault by its line."""
    by_name = {pair.name: pair for pair in pairs.pairs}
    found: dict[tuple[str, str], Winner] = {}
    faults = []
    for line, row in rows:
        name, choice, voter = ((row[column] or "").strip() for column in COLUMNS)
        choice = choice.lower()
        fault = "more cells than columns" if None in row else _row_fault(name, choice, voter, by_name, found)
        if fault:
            faults.append(f"line {line}: {fault}")
        elif choice:
            found[name, voter] = next(winner for winner in WINNERS if winner == choice)
    if faults:
        raise DataError(f"{path} has {len(faults)} bad rows: {'; '.join(faults)}. Nothing was stored.")
    return [pairs.facts(by_name[name], winner, voter=voter, source=source) for (name, voter), winner in found.items()]


def _row_fault(
    name: str, choice: str, voter: str, by_name: Mapping[str, Pair], found: Mapping[tuple[str, str], Winner]
) -> str:
    """Return what is wrong with one row, or nothing."""
    if name not in by_name:
        return f"there is no pair {name!r} (of a person who was forgotten it is gone)"
    if choice and choice not in WINNERS:
        return f"a choice is left, right, tie or empty, found {choice!r}"
    if choice and not 0 < len(voter) <= _LONGEST_VOTER:
        return f"a choice needs a voter of 1 to {_LONGEST_VOTER} characters, found {len(voter)}"
    if choice and found.get((name, voter), choice) != choice:
        return f"{voter} chose {found[name, voter]} for pair {name} above, found {choice}"
    return ""
