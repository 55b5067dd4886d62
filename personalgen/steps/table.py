"""One table of tonight's model beside honest baselines, on the same people, z and judges: `evaluate --table`."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.artifacts import write_json
from personalgen.conditions import ConditionSpec
from personalgen.embeddings import (
    Basis,
    Foresight,
    PreferenceTable,
    asked_of_users,
    embed_by_items,
    like_weights,
    load_basis,
    picture_condition,
)
from personalgen.embeddings.basis import Matrix
from personalgen.embeddings.fields import EXPECTED
from personalgen.errors import DataError
from personalgen.evaluation import (
    EstimatorOptions,
    Pictures,
    SheetRow,
    Truth,
    Yardstick,
    cached_estimator,
    contact_sheet,
    identify,
    measure,
    own_scores,
    preference_gain,
    win_rate,
    write_png,
)
from personalgen.evaluation.interval import flat_intervals
from personalgen.generation.maximise import MaximiseOptions, maximise
from personalgen.generation.options import OperatingPoint
from personalgen.generation.sampler import Sampler
from personalgen.histories import History
from personalgen.models import Generator, load_card, load_generator
from personalgen.recommenders.by_size import NextItemModel, next_item_model
from personalgen.seeding import derive_seed
from personalgen.steps.contestants import (
    BY_CLASS,
    TRAINED,
    UNCONDITIONAL,
    drawn_likes,
    likes_of_users,
    nearest_items,
    train_contestant,
)
from personalgen.steps.data import NightData
from personalgen.steps.embed import Embedded, recommender_of
from personalgen.steps.night import Night
from personalgen.steps.own_identity import own_identity
from personalgen.steps.scorer import preference_score
from personalgen.steps.told import Parts
from personalgen.steps.train import Trained
from personalgen.steps.workspace import Workspace
from personalgen.steps.yardstick import draw, judged_pictures, yardstick_of
from personalgen.worlds import WORLDS, AttributeWorld, find_world

OURS, TOLD_NOTHING = "ours", "ours, told nothing"
PARTS = {"ours, 6 likes a picture": 6, "ours, 4 likes a picture": 4}
"""Each picture but the first told of so many random likes, by the name of the way."""
NEAREST, RETURNED, SEARCHED = "nearest real item", "a training picture of the history", "preference maximisation"
HELD_OUT, SEEN, FOUR_LIKES = "held out", "seen", "four likes"
FEW = 4
STAGE = "table"
_SHEET_USERS = 10


@dataclass(frozen=True)
class Group:
    """People for whom all ways draw, and who judges."""

    name: str
    table: PreferenceTable
    """What is known of them, in the order of the yardstick's users."""
    known: History
    """The events behind it."""
    likes: History
    """The likes among them."""
    yardstick: Yardstick
    truth: Truth | None
    """None where nobody knows what people truly like."""


@dataclass(frozen=True)
class Standing:
    """What one way of drawing reached for one group of people."""

    name: str
    group: str
    figures: Mapping[str, float]
    cpu_ms_per_image: float
    kimg: float = 0.0
    """Thousands of images that the net behind it has seen, warm start included; 0 where there is none."""


Draw = Callable[[Group, int], NDArray[np.uint8]]


def standings(
    workspace: Workspace,
    night: Night,
    embedded: Embedded,
    trained: Trained,
    *,
    baselines: Collection[str] = tuple(TRAINED),
) -> list[Standing]:
    """Return the table, row by row; baselines that need nets are trained first, and all of it is stored and logged.

    `baselines` names those of `TRAINED` that are; the unconditional net always is.

    Raises:
        DataError: too few people are held out.
    """
    bench = Bench(workspace, night, embedded, Path(trained.folder), tuple(baselines))
    folder = night.path / STAGE
    with workspace.tracking.stage_run(STAGE, night.parent_run_id) as run:
        rows = list(bench.rows())
        write_json(folder / "standings.json", [asdict(row) for row in rows])
        write_png(folder / "sheet.png", bench.sheet())
        run.log_dict([asdict(row) for row in rows], name="standings.json")
        run.log_artifact(folder / "sheet.png")
        for row in rows:
            prefix = f"{row.name}_{row.group}".replace(" ", "_").replace(",", "")
            run.log_metrics({f"{prefix}_{name}": value for name, value in row.figures.items()})
    return rows


@dataclass(frozen=True)
class Bench:
    """What every way of drawing is measured with."""

    workspace: Workspace
    night: Night
    embedded: Embedded
    model: Path
    """Folder of tonight's model."""
    baselines: tuple[str, ...]
    """Names of the baselines that are trained, besides the unconditional one."""

    @cached_property
    def data(self) -> NightData:
        """Tonight's tables."""
        return NightData.of(self.workspace, self.night)

    @cached_property
    def ours(self) -> Generator:
        """Tonight's model."""
        return load_generator(self.model)[0]

    @property
    def point(self) -> OperatingPoint:
        """Where every net is drawn from: the settings' point."""
        return self.workspace.settings.generation.operating_point

    @cached_property
    def unconditional(self) -> Generator:
        """The same net, told of nobody: what a search in the latent starts from."""
        return self._trained(UNCONDITIONAL)

    @cached_property
    def basis(self) -> Basis:
        """What tonight's model is told in."""
        return load_basis(self.model)

    @cached_property
    def items(self) -> Matrix:
        """All items in the basis."""
        features = self.data.features(self.workspace, self.basis.options)
        return self.basis.item_vectors(features, self.data.history.item_ids)

    @cached_property
    def recommender(self) -> NextItemModel | None:
        """Foretells what is expected of people, where tonight's model asks for that."""
        if EXPECTED not in asked_of_users(self.ours.spec):
            return None
        return next_item_model(self.data.training_history(), recommender_of(self.workspace, self.model))

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """People held out, people who were trained on, and the first ones known by four likes alone."""
        held_out = self._group(HELD_OUT, None)
        few = held_out.likes.newest(FEW)
        four = Group(FOUR_LIKES, self._known(few), few, few, held_out.yardstick, held_out.truth)
        try:
            seen = (self._group(SEEN, self.data.train_users),) if self.data.split.hold_out_users else ()
        except DataError:  # too few people who were trained on liked anything held out since: the others still count
            seen = ()
        return (held_out, *seen, four)

    def rows(self) -> Iterator[Standing]:
        """Yield every way of drawing for people held out, and ours for every group.

        Win rates are against the unconditional net's pictures.
        """
        per_user = self.workspace.settings.evaluation.images_per_user
        for group in self.groups:
            scores: dict[str, NDArray[np.float64]] = {}
            for name, way in self._asked_of(group).items():
                began = time.process_time()
                images = way(group, per_user)
                cpu_ms = 1000 * (time.process_time() - began) / len(images)
                pictures = judged_pictures(self.workspace, images, per_user)
                figures = self._figures(group, name, pictures, scores)
                yield Standing(name, group.name, figures, cpu_ms, self.kimg_of(name))

    def _asked_of(self, group: Group) -> dict[str, Draw]:
        """Return the ways that are measured for a group, the unconditional net first."""
        if group is self.groups[0]:
            return self.ways
        return {name: self.ways[name] for name in (UNCONDITIONAL, OURS, *PARTS)}

    @cached_property
    def ways(self) -> dict[str, Draw]:
        """Every way of drawing by its name; the unconditional net is first, against which others win or lose."""
        asked = [name for name in TRAINED if name == UNCONDITIONAL or name in self.baselines]
        if not any(self.data.labels):
            asked = [name for name in asked if name != BY_CLASS]
        ways: dict[str, Draw] = {}
        for name in asked:
            net = self.unconditional if name == UNCONDITIONAL else self._trained(name)
            ways[name] = self._by_class(net) if name == BY_CLASS else self._by_net(net)
        return ways | {
            OURS: self._by_net(self.ours),
            **{name: self._by_parts(count) for name, count in PARTS.items()},
            TOLD_NOTHING: self._by_net(self.ours, replace(self.point.among(self.ours.spec.names), guidance=0.0)),
            NEAREST: self._nearest,
            RETURNED: self._returned,
            SEARCHED: self._searched,
        }

    def kimg_of(self, name: str) -> float:
        """Return the thousands of images behind a way to draw."""
        if name in (OURS, TOLD_NOTHING, *PARTS):
            return load_card(self.model).trained_kimg
        trained = UNCONDITIONAL if name == SEARCHED else name
        return float(self.workspace.settings.train.max_kimg) if trained in TRAINED else 0.0

    def sheet(self) -> Any:
        """Return some people of the first group, with one picture of each way."""
        whole, images = self.groups[0], np.asarray(self.data.prepared.images)
        shown = np.arange(min(len(whole.likes.user_ids), _SHEET_USERS))
        group = replace(whole, table=whole.table.rows(shown), known=whole.known.of(shown), likes=whole.likes.of(shown))
        drawn = {name: way(group, 1) for name, way in self.ways.items()}
        likes = group.likes
        rows = [
            SheetRow(
                ", ".join(drawn) if k == 0 else "",
                list(images[likes.item_index[likes.bounds[k] : likes.bounds[k + 1]][::-1][:4]]),
                [pictures[k] for pictures in drawn.values()],
            )
            for k in shown.tolist()
        ]
        return contact_sheet(rows, scale=3, max_history=4, max_generated=len(drawn), header=("liked", "drawn"))

    def _group(self, name: str, users: NDArray[np.bool_] | None) -> Group:
        yardstick = yardstick_of(self.workspace, self.data, users)
        likes = likes_of_users(self.data, yardstick.selection.user_index)
        known = self.data.earlier_history().of(yardstick.selection.user_index)
        return Group(name, self._known(known), known, likes, yardstick, self._truth(yardstick))

    def _known(self, history: History) -> PreferenceTable:
        """Return what is known of the people of a history, for all that tonight's model asks for."""
        asked, foresight = asked_of_users(self.ours.spec), None
        if self.recommender:
            foresight = Foresight.by(self.recommender, len(history.user_ids))
        return embed_by_items(history, self.basis, self.items, asked, now=self._now(history), foresight=foresight)

    def _now(self, history: History) -> NDArray[np.int64]:
        """Return when the later events of each of these people begin."""
        place = {user_id: k for k, user_id in enumerate(self.data.history.user_ids)}
        return self.data.held_back_from()[[place[user_id] for user_id in history.user_ids]]

    def _trained(self, name: str) -> Generator:
        return load_generator(train_contestant(self.workspace, self.night, self.embedded, name))[0]

    def _truth(self, yardstick: Yardstick) -> Truth | None:
        """Return what people of a planted world truly like; None elsewhere."""
        settings = self.workspace.settings
        if settings.world.name not in WORLDS:
            return None
        world = find_world(settings.world.name)
        if not isinstance(world, AttributeWorld):
            return None
        people = world.sample_users(settings.world.history.n_users, settings.world.history.seed)
        identity = own_identity(self.workspace)
        everybody = replace(people, user_ids=tuple(map(identity.user_id, people.user_ids)))
        selection, place = yardstick.selection, np.asarray(self.data.history.user_ids)
        users = everybody.take(place[selection.user_index].tolist())
        estimator = cached_estimator(
            self.workspace.data / "estimator",
            world,
            image_px=settings.model.resolution,
            options=EstimatorOptions(threads=settings.evaluation.threads),
        )
        images = np.asarray(self.data.prepared.images)[selection.item_index]
        likes = selection.held_out_likes + selection.profile_likes
        return Truth.of(world, estimator, users, images=images, likes=likes)

    def _figures(
        self, group: Group, name: str, pictures: Pictures, scores: dict[str, NDArray[np.float64]]
    ) -> dict[str, float]:
        """Return the figures of one way; `scores` keeps those of the unconditional net for the win rates."""
        options, yardstick = self.workspace.settings.evaluation, group.yardstick
        result = measure(pictures.features, yardstick, options=options, images=pictures.images)
        found = result.metrics()
        judged = {"judge": own_scores(yardstick.picture_scores(yardstick.first, pictures.features, pictures.images))}
        if group.truth is not None and pictures.images is not None:
            cube = group.truth.picture_scores(pictures.images)
            fit = preference_gain(cube.mean(axis=1), group.truth.real_scores, options=options)
            found |= flat_intervals({"true_npg": fit.npg, "true_gain": fit.gain, "true_real_gain": fit.real_gain})
            named = identify(cube, group.truth.item_scores, group.truth.likes, options=options).metrics()
            found |= {f"true_{key}": value for key, value in named.items()}
            judged["truth"] = own_scores(cube)
        if name == UNCONDITIONAL:
            scores |= judged
        wins = {f"wins_by_{who}": win_rate(own, scores[who], options=options) for who, own in judged.items()}
        return found | flat_intervals(wins)

    def _by_net(self, net: Generator, point: OperatingPoint | None = None) -> Draw:
        sampler = Sampler(net, operating_point=point or self.point.among(net.spec.names))
        return lambda group, per_user: draw(sampler, [group.table] * per_user)

    def _by_parts(self, count: int) -> Draw:
        """Draw as nights with `generation.likes_per_image` do: each picture but the first by some of the likes."""
        sampler = Sampler(self.ours, operating_point=self.point.among(self.ours.spec.names))

        def by_parts(group: Group, per_user: int) -> NDArray[np.uint8]:
            now = self._now(group.known)
            parts = Parts(group.known, now, self.basis, self.items, self.recommender, count)
            further = [parts.table(group.table, variant) for variant in range(1, per_user)]
            return draw(sampler, [group.table, *further])

        return by_parts

    def _by_class(self, net: Generator) -> Draw:
        """Draw the labels of random likes of each user."""

        def by_class(group: Group, per_user: int) -> NDArray[np.uint8]:
            items = self._likes_of(group, per_user).ravel()
            known = set(_label_values(net.spec))
            labels = [tuple(value for value in self.data.labels[item] if value in known) for item in items.tolist()]
            condition = picture_condition(net.spec, labels=labels)
            point = self.point.among(net.spec.names)
            return Sampler(net, operating_point=point).sample(condition, _seeds(group.table, per_user))

        return by_class

    def _nearest(self, group: Group, per_user: int) -> NDArray[np.uint8]:
        items = nearest_items(self.data, self.basis.standardise(self.items), group.table, per_user)
        return np.asarray(self.data.prepared.images)[items.ravel()]

    def _returned(self, group: Group, per_user: int) -> NDArray[np.uint8]:
        return np.asarray(self.data.prepared.images)[self._likes_of(group, per_user).ravel()]

    def _searched(self, group: Group, per_user: int) -> NDArray[np.uint8]:
        rows = np.arange(len(group.table.user_ids)).repeat(per_user)
        score = preference_score(self.basis, group.table, rows)
        return maximise(self.unconditional, score, _seeds(group.table, per_user), MaximiseOptions())

    def _likes_of(self, group: Group, per_user: int) -> NDArray[np.int64]:
        """Return (n_users, per_user) random likes of each user by their weights."""
        half_life = self.workspace.settings.embeddings.half_life_days
        everybody = np.flatnonzero(self.data.train_items)
        return drawn_likes(group.likes, like_weights(group.likes, half_life), per_user, everybody=everybody)


def _seeds(table: PreferenceTable, per_user: int) -> list[int]:
    return [derive_seed(user_id, variant) for user_id in table.user_ids for variant in range(per_user)]


def _label_values(spec: ConditionSpec) -> tuple[str, ...]:
    return spec.fields[0].values
