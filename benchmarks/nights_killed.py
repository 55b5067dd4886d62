"""Kills whole nights again and again, with a signal that nobody can catch, and compares them with nights left alone.

    python -m benchmarks.nights_killed --kills 200

A round is three nights in one home with new events between them: the first, one whose challenger is held, one that
promotes. Each is killed at random moments and started again until it ends. Then the catalogue, the registry and the
files must agree with those of nights of the same inputs that nobody killed: the same images to the byte under the same
keys, the same versions, nothing lost, doubled, unfinished or left over. One round in four runs through Prefect's flow
with bucket workers, and loses Prefect's server or a worker as well.

The log in the home is the truth: the same command goes on where it was cut, and prints the table from the log.
"""

import argparse
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from benchmarks.agreement import Agreed, disagreements, lost_and_doubled, read_home, read_only
from benchmarks.killed_night import CONFIG, ORDER, START, Moment, Night, attempt
from personalgen.artifacts import read_json, write_json
from personalgen.cli.terminal import quiet_environment
from personalgen.config import load_settings
from personalgen.registry.store import prepare_environment
from personalgen.worlds import ShapesWorld, add_days, write_history

KILLS_A_NIGHT = 8
"""Spread over a night by the time that its stages take, in order; the next one is of the attempt after it."""
PREFECT_START_SEC = 10.0
"""Prefect's server, and what it is asked for before the first stage."""
VICTIMS = ("night", "night", "server", "worker")
PREFECT_EVERY = 4
ACTIVE_SHARE = 0.3
N_NIGHTS = 3


class BrokenError(Exception):
    """What must never be found."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign, or go on with it; return the exit code, 1 where something was lost, doubled or left over."""
    given = _parser().parse_args(arguments)
    home = given.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    _quiet(home)
    log = Log(home / "campaign.jsonl", {"seed": given.seed, "prefect_every": given.prefect_every})
    code = 0
    try:
        Campaign(home, log).run(given.kills)
    except BrokenError as error:
        print(f"broken, see {home}: {error}")
        code = 1
    print("\n".join(table(log.lines, read_json(home / "reference.json")["stages_sec"])))
    if given.json:
        write_json(given.json, figures(log.lines))
    return code


def _quiet(home: Path) -> None:
    """Set what prefect and mlflow read once, and import them: forks find everything there."""
    os.environ.update(PREFECT_HOME=str(home / "prefect"), MPLBACKEND="Agg")
    quiet_environment()
    prepare_environment()
    import mlflow  # noqa: F401 - for the forks

    import flows.nightly  # noqa: F401 - for the forks

    torch.set_num_threads(1)


class Log:
    """Lines of JSON, each durable before the next attempt begins; the first says what the campaign is."""

    def __init__(self, path: Path, campaign: dict[str, Any]) -> None:
        """Begin a log, or go on with one of the same campaign.

        Raises:
            BrokenError: the log is of another campaign.
        """
        self.path = path
        self.lines: list[dict[str, Any]] = []
        if path.exists():
            self.lines = [json.loads(line) for line in path.read_text().splitlines()]
        if not self.lines:
            self.add(campaign)
        if self.lines[0] != campaign:
            raise BrokenError(f"{path} is of the campaign {self.lines[0]}, not {campaign}: choose another --home")

    def add(self, line: dict[str, Any]) -> None:
        """Append a line."""
        self.lines.append(line)
        with self.path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def of_round(self) -> list[dict[str, Any]]:
        """Return the attempts since the last round ended."""
        ends = [k for k, line in enumerate(self.lines) if "lost" in line]
        return [line for line in self.lines[ends[-1] + 1 if ends else 0 :] if "how" in line]

    def of_night(self) -> list[dict[str, Any]]:
        """Return the attempts since the last night ended."""
        ends = [k for k, line in enumerate(self.lines) if line.get("how", "done") == "done"]
        return self.lines[ends[-1] + 1 :]

    @property
    def n_rounds(self) -> int:
        """Rounds that ended."""
        return sum("lost" in line for line in self.lines)

    @property
    def n_kills(self) -> int:
        """Kills so far."""
        return sum(bool(line.get("victim")) for line in self.lines)


class Campaign:
    """Rounds of nights in one folder, and the nights that nobody killed beside them."""

    def __init__(self, home: Path, log: Log) -> None:
        """Make the nights that all others are compared with, unless they are there."""
        self.home, self.log = home, log
        self.seed, self.prefect_every = log.lines[0]["seed"], log.lines[0]["prefect_every"]
        if not (home / "reference.json").exists():
            self._make_reference()
        reference = read_json(home / "reference.json")
        self.expected, self.stages_sec = reference["nights"], reference["stages_sec"]

    def run(self, n_kills: int) -> None:
        """Kill nights until so many kills were made, and let the last round end.

        Raises:
            BrokenError: a night failed by itself, or a round ended otherwise than the nights that nobody killed.
        """
        if broken := [line["broken"] for line in self.log.lines if "broken" in line]:
            raise BrokenError(f"{broken[0]}\nLook at it, then begin in another --home")
        while self.log.n_kills < n_kills or self.log.of_round():
            victim, done = self.home / "round", [line for line in self.log.of_round() if line["how"] == "done"]
            if not self.log.of_round():
                shutil.rmtree(victim, ignore_errors=True)
            by_prefect = bool(self.prefect_every) and self.log.n_rounds % self.prefect_every == self.prefect_every - 1
            for k, night in [*enumerate(self._nights(victim))][len(done) :]:
                self._end(replace(night, by_prefect=by_prefect), n_kills)
                self._compare(victim, k)
            self._close_round(victim)

    def _nights(self, home: Path) -> Iterator[Night]:
        """Yield the nights of a round."""
        held = ("gate.min_users=1000000", "generation.min_shift=0.15")
        yield Night("first", home, self.home / "world-1")
        yield Night("held", home, self.home / "world-2", held)
        yield Night("promoted", home, self.home / "world-3", promoted=True)

    def _end(self, night: Night, n_kills: int) -> None:
        """Start a night and kill it, until one attempt ends well."""
        moments = self._moments(night)
        how = ""
        while how != "done":
            rng = np.random.default_rng([self.seed, len(self.log.lines)])
            killed = sum(bool(line["victim"]) for line in self.log.of_night())
            moment = moments[killed] if killed < len(moments) and self.log.n_kills < n_kills else None
            victim = str(rng.choice(VICTIMS)) if night.by_prefect else "night"
            ended = attempt(night, log=self.home / "attempts.log", moment=moment, victim=victim)
            how = ended.how
            unseen = self._without_image(night.home)
            line = asdict(ended) | {"night": night.name, "by_prefect": night.by_prefect, "without_image": unseen}
            self.log.add(line)
            if how in ("failed", "hung") and not ended.victim:
                self._break(f"the {night.name} night failed by itself; see attempts.log")
            if unseen and night.name != "first":
                self._break(f"{unseen} users saw no image after a kill in {ended.stage}")

    def _break(self, told: str) -> NoReturn:
        """Write down what must never be, and end."""
        self.log.add({"broken": told})
        raise BrokenError(told)

    def _moments(self, night: Night) -> list[Moment]:
        """Return when to kill each attempt of the night that the log stands in, from its first stage to its last."""
        ends = [k for k, line in enumerate(self.log.lines) if line.get("how", "done") == "done"]
        rng = np.random.default_rng([self.seed, ends[-1]])
        sec = {START: PREFECT_START_SEC} if night.by_prefect else {}
        sec |= {stage: self.stages_sec[stage] / N_NIGHTS for stage in ORDER[1:]}
        starts = np.cumsum([0.0, *sec.values()])
        moments = np.sort(rng.uniform(0, starts[-1], KILLS_A_NIGHT))
        places = np.searchsorted(starts, moments, side="right") - 1
        return [Moment([*sec][k], float(at - starts[k])) for k, at in zip(places, moments, strict=True)]

    def _without_image(self, home: Path) -> int:
        """Return how many users who may have an image see none, at this moment."""
        database = home / "data" / "catalogue.db"
        if not database.exists():
            return 0
        asked = "live_asset_id is null and listed and not opted_out and not forgotten"
        with read_only(database) as connection:
            if not connection.execute("select 1 from sqlite_master where name = 'v_users'").fetchone():
                return 0
            return int(connection.execute(f"select count(*) from v_users where {asked}").fetchone()[0])

    def _compare(self, home: Path, k: int) -> None:
        """Compare a home after its night `k` with the one that nobody killed."""
        if told := disagreements(Agreed(**self.expected[k]), read_home(home)):
            self._break("\n".join(told))

    def _close_round(self, home: Path) -> None:
        """Write down what a round that agrees came to."""
        found = read_home(home)
        lost, doubled = lost_and_doubled(Agreed(**self.expected[-1]), found)
        self.log.add({"lost": lost, "doubled": doubled, "images": len(found.rows["asset"])})

    def _make_reference(self) -> None:
        """Run each night once, left alone, and write down what it leaves and how long its stages take."""
        reference = self.home / "reference"
        shutil.rmtree(reference, ignore_errors=True)
        self._make_worlds()
        nights, seconds = [], Counter[str]()
        for night in self._nights(reference):
            ended = attempt(night, log=self.home / "reference.log")
            if ended.how != "done":
                raise BrokenError(f"the {night.name} night failed without a kill; see reference.log")
            nights.append(asdict(read_home(reference)))
            seconds.update(ended.stages_sec)
        write_json(self.home / "reference.json", {"nights": nights, "stages_sec": seconds})

    def _make_worlds(self) -> None:
        """Write the history as each night finds it."""
        world, options = ShapesWorld(128), load_settings(CONFIG).world.history
        for k, folder in enumerate([self.home / f"world-{n + 1}" for n in range(N_NIGHTS)]):
            shutil.rmtree(folder, ignore_errors=True)
            if k:
                shutil.copytree(self.home / f"world-{k}", folder)
            database = write_history(world, folder, options) if not k else folder / "history.db"
            if k:
                add_days(world, database, options, active_share=ACTIVE_SHARE)


def figures(lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the campaign's sums."""
    attempts, rounds = [line for line in lines if "how" in line], [line for line in lines if "lost" in line]
    kinds = Counter(kind for line in attempts for kind in line["left"])
    return {
        "kills": sum(bool(line["victim"]) for line in attempts),
        "nights_ended": sum(line["how"] == "done" for line in attempts),
        "rounds_that_agree": len(rounds),
        "images_compared": sum(line["images"] for line in rounds),
        "images_lost": sum(line["lost"] for line in rounds),
        "images_doubled": sum(line["doubled"] for line in rounds),
        "nights_hung": sum(line["how"] == "hung" for line in attempts),
        "users_without_image_after_a_kill": sum(line["without_image"] for line in attempts if line["night"] != "first"),
        "servers_outlived_a_night": kinds["server"],
        "workers_outlived_a_night": kinds["worker"],
        "minutes": sum(line["sec"] for line in attempts) / 60,
    }


def table(lines: Sequence[dict[str, Any]], stages_sec: dict[str, float]) -> list[str]:
    """Return the lines of the campaign's table: kills by stage and victim, then its sums."""
    kills = [line for line in lines if line.get("victim")]
    hits = Counter((line["stage"], line["victim"]) for line in kills)
    victims, width = ("night", "server", "worker"), 12
    total = sum(stages_sec.values())
    out = [f"{'stage':<{width}}{'share of time':>15}" + "".join(f"{f'kills of {v}':>18}" for v in victims)]
    for stage, sec in sorted(stages_sec.items(), key=lambda each: ORDER.index(each[0])):
        counts = "".join(f"{hits[stage, victim]:>18}" for victim in victims)
        out.append(f"{stage:<{width}}{sec / total:>14.0%} {counts}")
    how = Counter(f"{line['victim']} killed: {line['how']}" for line in kills)
    out += ["", *(f"{name:<34} {n:>8}" for name, n in sorted(how.items()))]
    return [*out, "", *(f"{name:<34} {value:>8,.0f}" for name, value in figures(lines).items())]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nights_killed", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    parser.add_argument(
        "--home", type=Path, default=Path("build/nights_killed"), help="where all is written, and the log"
    )
    parser.add_argument(
        "--prefect-every",
        type=int,
        default=PREFECT_EVERY,
        metavar="N",
        help="one round in so many runs through Prefect's flow with bucket workers (0: none, 1: all)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
