"""The journal of a home: our own log records as JSON lines, each with its night, stage and runs."""

import fcntl
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from personalgen.journal.discreet import told, without_passwords
from personalgen.journal.options import LogOptions

OWN = ("personalgen", "flows")
"""Loggers that are written down: what libraries say may hold values of rows, and stays on the terminal."""
SUFFIX = ".jsonl"
_STAGE, _RUN = "stage", "mlflow_run_id"
_TOLD = "told"
TOLD_ELSEWHERE = {_TOLD: True}
"""Extra of a line that the terminal shows in words of its own."""
_log = logging.getLogger(__name__)


class Journal(logging.Handler):
    """Writes to home/data/logs/<day>.jsonl while it is open; a journal that nobody opened writes nothing.

    A line that cannot be written is told on stderr and stops nothing.
    """

    def __init__(self, folder: Path, options: LogOptions, *, now: Callable[[], datetime]) -> None:
        super().__init__(logging.INFO)
        self.folder, self.options, self._now = folder, options, now
        self.fields: dict[str, str] = {}
        """What every line says beside its own words: night_key, stage, mlflow_run_id, prefect_flow_run_id."""
        self.failed_stage = ""
        """The stage in which an error was first seen."""

    @contextmanager
    def opened(self, **fields: str | None) -> Iterator[None]:
        """Write what our loggers say from here on, warnings to stderr, too; inside an open journal only add fields."""
        self.tell(**fields)
        if self in logging.getLogger(OWN[0]).handlers:
            yield
            return
        terminal = logging.StreamHandler(sys.stderr)
        terminal.setLevel(logging.WARNING)
        terminal.addFilter(lambda record: not hasattr(record, _TOLD))
        loggers = [logging.getLogger(name) for name in OWN]
        before = [(logger.level, logger.propagate) for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.INFO)
            logger.propagate = False  # Prefect's handler of all loggers would print every line
            logger.addHandler(self)
            logger.addHandler(terminal)
        try:
            self._remove_old()
            yield
        finally:
            for logger, (level, propagate) in zip(loggers, before, strict=True):
                logger.removeHandler(self)
                logger.removeHandler(terminal)
                logger.setLevel(level)
                logger.propagate = propagate
            self.fields.clear()

    def tell(self, **fields: str | None) -> None:
        """Say so in every line from here on."""
        self.fields |= {name: value for name, value in fields.items() if value}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Name the stage in every line, and write when it began, how it ended and after how long."""
        before = {key: self.fields.get(key) for key in (_STAGE, _RUN)}
        self.fields[_STAGE] = name
        began = time.monotonic()
        _log.info("stage began")
        try:
            yield
            _log.info("stage done", extra={"facts": {"sec": round(time.monotonic() - began, 3)}})
        except BaseException as error:
            self.failed_stage = self.failed_stage or name
            _log.info("stage failed: %s", told(error), extra={"facts": {"sec": round(time.monotonic() - began, 3)}})
            raise
        finally:
            for key, value in before.items():
                self.fields.pop(key, None)
                self.tell(**{key: value})

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line; several processes may do so at once."""
        try:
            line = json.dumps(self._facts(record), ensure_ascii=False, default=str) + "\n"
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / f"{self._now():%Y-%m-%d}{SUFFIX}").open("a", encoding="utf-8") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                stream.write(line)
        except Exception:  # noqa: BLE001 - a journal that cannot be written stops no night: logging tells it on stderr
            self.handleError(record)

    def _facts(self, record: logging.LogRecord) -> dict[str, Any]:
        return {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_passwords(record.getMessage()),
            **self.fields,
            "pid": os.getpid(),
            **getattr(record, "facts", {}),
        }

    def _remove_old(self) -> None:
        """Remove the files of days that need not be kept; others than ours stay."""
        oldest = f"{self._now() - timedelta(days=self.options.keep_days):%Y-%m-%d}"
        for path in self.folder.glob(f"????-??-??{SUFFIX}"):
            if path.stem < oldest:
                with suppress(OSError):
                    path.unlink()
