"""A stocked catalogue, and the lists of statements, for either database."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from personalgen.catalogue.query_policy import TIMEOUT_SEC

HERE = Path(__file__).resolve().parent
STOCK = """
INSERT INTO night (night_key, source, as_of, day, source_digest, config_digest, status, attempts, created_at)
    VALUES ('k', 'demo', '2026-03-01 00:00:00', '2026-03-01', 's', 'c', 'done', 1, '2026-03-01 00:00:00');
INSERT INTO model_version (model_name, version, generator_sha256, generator_digest, basis_version, condition_spec,
    folder, created_at) VALUES ('gan', 1, 'f', 7, 'b', '{{}}', '/secret/models/1', '2026-03-01 00:00:00');
INSERT INTO shard (path, sha256, byte_length, n_assets, encoder, operating_point_digest, operating_point, night_id,
    model_version_id, sealed_at) VALUES ('s.tar', 'f', 1, 3000, 'png', 1, '{{}}', 1, 1, '2026-03-01 00:00:00');
INSERT INTO item (item_id, title, split) VALUES ('i', 'Item', 'train');
INSERT INTO quarantine (night_id, source_table, reason, n_rows, path) VALUES (1, 'items', 'r', 1, '/secret/q.parquet');
WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < 3000)
    INSERT INTO "user" (user_id, segment, opted_out) SELECT 'u' || k, 's' || k % 3, false FROM n;
INSERT INTO asset (user_key, generator_digest, condition_digest, operating_point_digest, variant, night_id,
    model_version_id, shard_id, member, shard_offset, byte_length, crc32, seed, score, n_events, top_events)
    SELECT user_key, 7, user_key, 1, 0, 1, 1, 1, 'member-' || user_key || '.png', 512, 99, 1, user_key, 0.5, 1,
    '[{{"item_id": "i", "weight": 1.0, "timestamp": 1}}]' FROM "user";
INSERT INTO user_current (generator_digest, user_key, asset_id, condition, changed_night_id)
    SELECT 7, user_key, asset_id, {blob}, 1 FROM asset;
INSERT INTO recommendation SELECT user_key, 1, 1, 0.5, 1 FROM "user";
INSERT INTO item_neighbour VALUES (1, 1, 1, 1.0, 1);
INSERT INTO user_neighbour SELECT user_key, 1, 1 + user_key % 3000, 0.5, 1 FROM "user";
INSERT INTO forgotten (user_key, requested_at, actor, reason, statistics_exact, removed)
    VALUES (7, '2026-03-01 00:00:00', 'ops', 'asked', true, '{{"recommendations": 1}}');
"""
"""3,000 users with an asset each, and a row or more in each of the other tables; `blob` as the database spells one."""


@pytest.fixture(scope="session")
def stock():
    """Return the SQL that fills a catalogue, to be formatted with a `blob`."""
    return STOCK


@pytest.fixture(scope="session")
def listed():
    """Return what reads the statements of a list."""
    return lambda name: [
        line for line in (HERE / name).read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
    ]


@pytest.fixture(scope="session")
def attack():
    """Return what runs the statements of a list, in a process of its own; the time-out is that of the settings."""

    def run(url, name, timeout_sec=TIMEOUT_SEC):
        command = [sys.executable, str(HERE / "run_attacks.py"), url, str(HERE / name), str(timeout_sec)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parents[1])
        return json.loads(done.stdout)

    return run
