"""Which model do people prefer? Bradley-Terry strengths of blind choices between two pictures, and how sure they are.

Model i is chosen over model j with probability 1 / (1 + exp(s_j - s_i)); s is a model's strength, a tie counts as half
a win for each. Strengths are the maximum of the likelihood with half an imaginary win for each side of every pair of
models that was compared, so that a model that never lost stays finite; for two models this is Jeffreys' prior.

Choices that share a voter, or the person the pictures are for, are not independent. So an interval draws a weight for
each voter and each person anew (mean 1, exponential; a choice has the product of both), and for each imaginary half win
(gamma of shape 1/2): of one voter with one choice for each person it is Jeffreys' interval of a share, which stays
honest also where all agree. A single voter keeps weight 1, and the interval speaks of this voter's choices for other
people; with several it speaks of other voters too.

Source: Bradley & Terry (1952), Rank analysis of incomplete block designs; Ford (1957), Solution of a ranking problem
from binary comparisons; Rubin (1981), The Bayesian bootstrap; Owen & Eckles (2012), Bootstrapping data arrays of
arbitrary order; Brown, Cai & DasGupta (2001), Interval estimation for a binomial proportion.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.special import expit
from scipy.stats import binomtest

from personalgen.errors import DataError
from personalgen.evaluation.interval import FloatArray, Interval, percentile_interval
from personalgen.evaluation.options import EvaluationOptions

Winner = Literal["left", "right", "tie"]

PRIOR_WINS = 0.5
"""Imaginary wins of each of two models that were compared, over the other; less than one choice."""
_STEPS, _HALVINGS, _TOLERANCE = 100, 40, 1e-9
_PASS = 200
"""Resamples fitted at a time, which bounds the memory of a large table."""


@dataclass(frozen=True)
class Choice:
    """One blind choice between two pictures for the same person."""

    left: str
    """The model that drew the left picture."""

    right: str
    """The model that drew the right one."""

    winner: Winner
    voter: str
    user_id: str
    """The person whose taste the pictures are for."""


@dataclass(frozen=True, eq=False)
class Strengths:
    """What choices say of models; strengths are logits around a mean of 0."""

    models: tuple[str, ...]
    """In the order of their names."""

    strengths: tuple[Interval, ...]
    """Of each model; a difference of two is the log odds that one is preferred over the other."""

    n_choices: int
    n_ties: int
    n_voters: int
    n_people: int
    """People the pictures were for."""

    values: FloatArray
    """(models,) the estimates themselves."""

    resamples: FloatArray
    """(resamples, models) the same with every weight drawn anew."""

    confidence: float
    """Coverage of every interval."""

    def preference(self, model: str, over: str) -> Interval:
        """Return the probability that people prefer `model` over another one, half of the ties included."""
        first, second = self.models.index(model), self.models.index(over)
        value = float(_logistic(self.values[first] - self.values[second]))
        return percentile_interval(
            value, _logistic(self.resamples[:, first] - self.resamples[:, second]), self.confidence
        )


@dataclass(frozen=True)
class PositionBias:
    """Whether a side was chosen for being that side."""

    left: Interval
    """Share of left among the choices that were no tie, with its exact (Clopper-Pearson) interval."""

    p_value: float
    """Odds of a share at least as far from one half, were sides chosen by chance: exact binomial, two-sided."""

    n_decided: int
    """Choices that were no tie."""


@dataclass(frozen=True)
class VoterAgreement:
    """How often two voters who saw the same pair said the same."""

    share: float | None
    """Of all pairs of voters on the same pictures, a tie being a third answer; None where nothing was seen twice."""

    by_chance: float | None
    """Share expected of voters who answer independently, each answer as often as it was given (Fleiss 1971)."""

    n_repeated: int
    """Pairs of voters behind it."""


def bradley_terry(choices: Sequence[Choice], *, options: EvaluationOptions, prior: float = PRIOR_WINS) -> Strengths:
    """Return the strengths of all models in these choices, the same for the same choices in the same order.

    `prior` is the number of imaginary wins of each of two compared models over the other; with 0 a model that never
    lost has no finite strength, and intervals are too narrow where all agree.

    Raises:
        DataError: there is no choice, one compares a model with itself, or models fall into groups never compared.
    """
    _require_choices(choices)
    models = tuple(sorted({name for choice in choices for name in (choice.left, choice.right)}))
    table = _Table.of(choices, models)
    _require_connected(models, table.compared)
    values = _fit(table.wins(np.ones((1, len(choices)))) + prior * table.compared)[0]
    resamples = _resampled(table, choices, prior, options)
    intervals = zip(values, resamples.T, strict=True)
    return Strengths(
        models=models,
        strengths=tuple(percentile_interval(float(v), found, options.confidence) for v, found in intervals),
        n_choices=len(choices),
        n_ties=sum(choice.winner == "tie" for choice in choices),
        n_voters=len({choice.voter for choice in choices}),
        n_people=len({choice.user_id for choice in choices}),
        values=values,
        resamples=resamples,
        confidence=options.confidence,
    )


def position_bias(choices: Sequence[Choice], *, confidence: float = 0.95) -> PositionBias:
    """Return the share of left choices; sides were drawn by chance, so without bias it is a fair coin's.

    Raises:
        DataError: every choice is a tie, or there is none.
    """
    counts = Counter(choice.winner for choice in choices)
    n_decided = counts["left"] + counts["right"]
    if not n_decided:
        raise DataError(
            f"A bias of position needs choices of left or right, found {counts['tie']} ties and nothing else. "
            "Nothing was measured."
        )
    test = binomtest(counts["left"], n_decided, 0.5)
    ends = test.proportion_ci(confidence, method="exact")
    left = Interval(value=counts["left"] / n_decided, low=float(ends.low), high=float(ends.high))
    return PositionBias(left=left, p_value=float(test.pvalue), n_decided=n_decided)


def voter_agreement(choices: Sequence[Choice]) -> VoterAgreement:
    """Return how often voters agree on the pairs that several of them saw: same person, same two models."""
    answers: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    for choice in choices:
        first, second = sorted((choice.left, choice.right))
        answers[choice.user_id, first, second][choice.voter] = chosen(choice)
    repeated = [given for given in answers.values() if len(given) > 1]
    same = [a == b for given in repeated for a, b in itertools.combinations(given.values(), 2)]
    counts = Counter(answer for given in repeated for answer in given.values())
    total = sum(counts.values())
    return VoterAgreement(
        share=float(np.mean(same)) if same else None,
        by_chance=sum((count / total) ** 2 for count in counts.values()) if same else None,
        n_repeated=len(same),
    )


def chosen(choice: Choice) -> str:
    """Return the model that a choice is for; empty for a tie."""
    return {"left": choice.left, "right": choice.right, "tie": ""}[choice.winner]


@dataclass(frozen=True)
class _Table:
    """Choices as arrays: places of the two models, and how much of the win the left one has."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    left_win: FloatArray
    n_models: int

    @classmethod
    def of(cls, choices: Sequence[Choice], models: tuple[str, ...]) -> "_Table":
        place = {name: k for k, name in enumerate(models)}
        won = {"left": 1.0, "right": 0.0, "tie": 0.5}
        return cls(
            np.array([place[choice.left] for choice in choices]),
            np.array([place[choice.right] for choice in choices]),
            np.array([won[choice.winner] for choice in choices]),
            len(models),
        )

    @property
    def compared(self) -> FloatArray:
        """(models, models) 1 where two models were compared, else 0."""
        return np.asarray(self.wins(np.ones((1, len(self.left))), both=True)[0] > 0, np.float64)

    def wins(self, weights: FloatArray, *, both: bool = False) -> FloatArray:
        """Return (n, models, models) weighted wins of row over column; `both` gives the two sides a win each."""
        cells = np.zeros((self.n_models**2, len(weights)))
        of_left, of_right = (1.0, 1.0) if both else (self.left_win, 1 - self.left_win)
        np.add.at(cells, self.left * self.n_models + self.right, (weights * of_left).T)
        np.add.at(cells, self.right * self.n_models + self.left, (weights * of_right).T)
        return cells.T.reshape(len(weights), self.n_models, self.n_models)


def _resampled(table: _Table, choices: Sequence[Choice], prior: float, options: EvaluationOptions) -> FloatArray:
    """Return (resamples, models) strengths with the weights of voters, people and imaginary wins drawn anew."""
    rng, found = np.random.default_rng([options.seed, 2]), []
    names = ([choice.voter for choice in choices], [choice.user_id for choice in choices])
    units = [np.unique(each, return_inverse=True)[1] for each in names]
    for start in range(0, options.bootstrap, _PASS):
        n = min(_PASS, options.bootstrap - start)
        weights = np.ones((n, len(choices)))
        for unit in units:
            n_units = int(unit.max()) + 1
            weights *= rng.exponential(size=(n, n_units))[:, unit] if n_units > 1 else 1.0
        imaginary = rng.gamma(prior, size=(n, table.n_models, table.n_models)) if prior else 0.0
        found.append(_fit(table.wins(weights) + imaginary * table.compared))
    return np.concatenate(found)


def _fit(wins: FloatArray) -> FloatArray:
    """Return (n, models) strengths of n tables of wins, each with a mean of 0: Newton's method, halving bad steps.

    The likelihood is concave in strengths and has one maximum where no group of models won everything against the rest
    (Ford 1957), which the prior sees to. Its curvature is that of a graph, flat along equal shifts of all strengths.
    """
    strengths, n_models = np.zeros(wins.shape[:2]), wins.shape[1]
    games, flat = wins + wins.transpose(0, 2, 1), np.full((n_models, n_models), 1 / n_models)
    for _ in range(_STEPS):
        chance = _logistic(strengths[:, :, None] - strengths[:, None, :])
        slope = (wins - games * chance).sum(axis=2)
        weight = games * chance * (1 - chance)
        curvature = np.eye(n_models) * weight.sum(axis=2)[:, :, None] - weight
        step = np.linalg.solve(curvature + flat, slope[:, :, None])[:, :, 0]
        strengths, step = _climbed(wins, strengths, step)
        if float(np.abs(step).max()) < _TOLERANCE:
            break
    return np.asarray(strengths - strengths.mean(axis=1, keepdims=True))


def _climbed(wins: FloatArray, strengths: FloatArray, step: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the strengths after a step, and the step, halved until no table's likelihood is lower than before."""
    before = _log_likelihood(wins, strengths)
    for _ in range(_HALVINGS):
        worse = _log_likelihood(wins, strengths + step) < before - 1e-12 * np.abs(before)
        if not worse.any():
            break
        step = np.where(worse[:, None], step / 2, step)
    return strengths + step, step


def _log_likelihood(wins: FloatArray, strengths: FloatArray) -> FloatArray:
    """Return (n,) the log-likelihood of each table of wins."""
    lead = strengths[:, :, None] - strengths[:, None, :]
    return np.asarray(-(wins * np.logaddexp(0.0, -lead)).sum(axis=(1, 2)))


def _logistic(logits: NDArray[np.float64]) -> FloatArray:
    return np.asarray(expit(logits))


def _require_choices(choices: Sequence[Choice]) -> None:
    if not choices:
        raise DataError("Strengths need at least one choice, found none. Nothing was measured.")
    same = next((choice for choice in choices if choice.left == choice.right), None)
    if same:
        raise DataError(f"A choice is between two models, found {same.left} on both sides. Nothing was measured.")


def _require_connected(models: tuple[str, ...], compared: FloatArray) -> None:
    n_groups, group = connected_components(compared, directed=False)
    if n_groups > 1:
        names = [", ".join(name for name, own in zip(models, group, strict=True) if own == k) for k in range(n_groups)]
        raise DataError(
            f"Strengths need models that are compared with one another, directly or through others, found "
            f"{n_groups} groups: {'; '.join(names)}. Compare a model of one with a model of another, or give one group "
            "alone. Nothing was measured."
        )
