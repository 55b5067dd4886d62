"""The views that analysts read: names for what the tables hold as keys, and no path outside the shard root.

They hold no data, so `migrations.upgrade` drops them before it changes tables and makes them anew afterwards. Every
join is a LEFT JOIN on a unique key, which a database may leave out where a query does not use it, but for those that
keep silent people out. SQLite does not leave one out when it aggregates, so what costs most, the flags of v_assets, are
subqueries: they run where they are asked for. The night comes first in v_assets, so that a question about one day can
start from it. `listed AND NOT opted_out AND NOT forgotten` is the opposite of `schema.is_silent`. The text is common to
SQLite and PostgreSQL.
"""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Connection, Date, Float, Integer, String, column, table, text

from personalgen.catalogue.column_types import JsonText, UtcDateTime

_ASSETS = """
SELECT a.asset_id, u.user_id, s.path || '#' || a.member AS path, m.version AS model_version, a.seed, a.score,
       a.variant, m.model_name, a.night_id, n.day, n.as_of, u.segment, s.mlflow_run_id,
       CAST(a.condition_digest AS TEXT) AS preference_hash, a.n_events, CAST(a.top_events AS TEXT) AS top_events,
       EXISTS (SELECT 1 FROM user_current uc
               WHERE uc.generator_digest = a.generator_digest AND uc.user_key = a.user_key AND uc.asset_id = a.asset_id)
       OR EXISTS (SELECT 1 FROM user_variant uv
                  WHERE uv.generator_digest = a.generator_digest AND uv.user_key = a.user_key
                    AND uv.variant = a.variant AND uv.asset_id = a.asset_id) AS is_current,
       EXISTS (SELECT 1 FROM live_release l
               WHERE l.generator_digest = a.generator_digest AND l.operating_point_digest = a.operating_point_digest
                 AND u.listed AND NOT u.opted_out AND NOT u.forgotten)
       AND (EXISTS (SELECT 1 FROM user_current uc
                    WHERE uc.generator_digest = a.generator_digest AND uc.user_key = a.user_key
                      AND uc.asset_id = a.asset_id)
            OR EXISTS (SELECT 1 FROM user_variant uv
                       WHERE uv.generator_digest = a.generator_digest AND uv.user_key = a.user_key
                         AND uv.variant = a.variant AND uv.asset_id = a.asset_id)) AS is_live,
       TRUE AS generated
FROM asset a
LEFT JOIN night n ON n.night_id = a.night_id
LEFT JOIN "user" u ON u.user_key = a.user_key
LEFT JOIN shard s ON s.shard_id = a.shard_id
LEFT JOIN model_version m ON m.model_version_id = a.model_version_id
"""

_RUNS = """
SELECT n.night_id, n.night_key, n.source, n.day, n.as_of, n.status, n.attempts, n.mlflow_run_id, n.prefect_flow_run_id,
       n.created_at, n.finished_at, n.kind,
       (SELECT COUNT(*) FROM asset a WHERE a.night_id = n.night_id) AS n_images,
       (SELECT CAST(COALESCE(SUM(q.n_rows), 0) AS BIGINT) FROM quarantine q
        WHERE q.night_id = n.night_id) AS n_quarantined,
       (SELECT MAX(m.version) FROM model_promotion p
        JOIN model_version m ON m.model_version_id = p.to_model_version_id
        WHERE p.night_id = n.night_id AND p.action = 'promote') AS promoted_version,
       CAST(n.counts AS TEXT) AS counts
FROM night n
"""

_USERS = """
SELECT u.user_id, u.segment, u.opted_out, u.listed, u.forgotten, f.day AS first_day, g.day AS changed_day,
       a.asset_id AS live_asset_id, CASE WHEN a.asset_id IS NOT NULL THEN uc.previous_asset_id END AS previous_asset_id,
       s.path || '#' || a.member AS live_path, a.score AS live_score,
       h.n_events, h.n_likes, h.first_event_at, h.last_event_at
FROM "user" u
LEFT JOIN user_summary h ON h.user_key = u.user_key
LEFT JOIN night f ON f.night_id = u.first_night_id
LEFT JOIN live_release l ON l.release_id = 1
LEFT JOIN user_current uc ON uc.generator_digest = l.generator_digest AND uc.user_key = u.user_key
     AND u.listed AND NOT u.opted_out AND NOT u.forgotten
LEFT JOIN asset a ON a.asset_id = uc.asset_id AND a.operating_point_digest = l.operating_point_digest
LEFT JOIN night g ON g.night_id = uc.changed_night_id AND a.asset_id IS NOT NULL
LEFT JOIN shard s ON s.shard_id = a.shard_id
"""

_RECOMMENDATIONS = """
SELECT u.user_id, r.rank, i.item_id, i.title, r.score, r.night_id, n.day
FROM recommendation r
JOIN "user" u ON u.user_key = r.user_key AND u.listed AND NOT u.opted_out AND NOT u.forgotten
LEFT JOIN item i ON i.item_key = r.item_key
LEFT JOIN night n ON n.night_id = r.night_id
"""

_ITEM_NEIGHBOURS = """
SELECT i.item_id, r.rank, o.item_id AS neighbour_id, o.title AS neighbour_title, r.cosine, r.night_id, n.day
FROM item_neighbour r
LEFT JOIN item i ON i.item_key = r.item_key
LEFT JOIN item o ON o.item_key = r.neighbour_key
LEFT JOIN night n ON n.night_id = r.night_id
"""

_USER_NEIGHBOURS = """
SELECT u.user_id, r.rank, o.user_id AS neighbour_id, r.cosine, r.night_id, n.day
FROM user_neighbour r
JOIN "user" u ON u.user_key = r.user_key AND u.listed AND NOT u.opted_out AND NOT u.forgotten
JOIN "user" o ON o.user_key = r.neighbour_key AND o.listed AND NOT o.opted_out AND NOT o.forgotten
LEFT JOIN night n ON n.night_id = r.night_id
"""

_FORGOTTEN = """
SELECT f.forgotten_id, f.user_key, f.requested_at, f.actor, f.reason, f.statistics_exact,
       CAST(f.removed AS TEXT) AS removed, f.coefficients_at, n.day AS coefficients_day, f.erased_at,
       CAST(f.receipt AS TEXT) AS receipt
FROM forgotten f
LEFT JOIN night n ON n.night_id = f.coefficients_night_id
"""

_COMPARISONS = """
SELECT c.comparison_id, u.user_id, c.winner, c.voter, c.source, c.at, c.night_id, n.day,
       l.version AS left_version, r.version AS right_version,
       CASE c.winner WHEN 'left' THEN l.version WHEN 'right' THEN r.version END AS chosen_version,
       CAST(c.left_generator_digest AS TEXT) AS left_generator,
       CAST(c.right_generator_digest AS TEXT) AS right_generator,
       c.left_variant, c.right_variant
FROM comparison c
LEFT JOIN "user" u ON u.user_key = c.user_key
LEFT JOIN night n ON n.night_id = c.night_id
LEFT JOIN model_version l ON l.generator_digest = c.left_generator_digest
LEFT JOIN model_version r ON r.generator_digest = c.right_generator_digest
"""

_REFUSED = """
SELECT u.user_id, r.variant, r.score, r.rule, r.night_id, n.day, r.at, m.model_name, m.version AS model_version,
       CAST(r.condition_digest AS TEXT) AS preference_hash
FROM refused r
LEFT JOIN "user" u ON u.user_key = r.user_key
LEFT JOIN night n ON n.night_id = r.night_id
LEFT JOIN model_version m ON m.generator_digest = r.generator_digest
"""

_CHANGED = """
SELECT c.night_id, n.day, u.user_id, u.segment, m.model_name, m.version AS model_version, c.old_asset_id,
       c.new_asset_id, c.shift
FROM user_change c
LEFT JOIN night n ON n.night_id = c.night_id
LEFT JOIN "user" u ON u.user_key = c.user_key
LEFT JOIN model_version m ON m.generator_digest = c.generator_digest
WHERE c.old_asset_id <> c.new_asset_id
"""

_DAILY = """
SELECT n.day, d.night_id, m.model_name, m.version AS model_version, NULLIF(d.segment, '') AS segment, d.n_images,
       d.n_users, d.n_changed, d.n_bytes, d.n_scored, d.score_sum / NULLIF(d.n_scored, 0) AS mean_score
FROM daily_stat d
LEFT JOIN night n ON n.night_id = d.night_id
LEFT JOIN model_version m ON m.model_version_id = d.model_version_id
"""

_RATINGS = """
SELECT r.rating_id, r.asset_id, u.user_id, r.value, r.rater, r.source, r.at, a.night_id, n.day,
       m.version AS model_version, a.score
FROM rating r
LEFT JOIN asset a ON a.asset_id = r.asset_id
LEFT JOIN "user" u ON u.user_key = r.user_key
LEFT JOIN night n ON n.night_id = a.night_id
LEFT JOIN model_version m ON m.model_version_id = a.model_version_id
"""


_HEALTH = """
SELECT h.night_id, n.day, n.as_of, n.source, h.source_table, h.check_name, h.value, h.expected, h.low, h.high, h.status
FROM data_health h
LEFT JOIN night n ON n.night_id = h.night_id
"""


def _figure(name: str) -> str:
    """Return SQL for one figure of a model's evaluation, as both databases read JSON."""
    return f"CAST(m.verdict -> 'evaluation' ->> '{name}' AS DOUBLE PRECISION)"


_MOVE = "p.action IN ('promote', 'manual', 'rollback')"
_MODEL_QUALITY = f"""
SELECT m.model_version_id, m.model_name, m.version AS model_version, m.created_at, m.night_id, n.day, m.basis_version,
       m.mlflow_run_id, {_figure("fit_gain")} AS gain, {_figure("fit_gain_low")} AS gain_low,
       {_figure("fit_gain_high")} AS gain_high, {_figure("npg")} AS npg, {_figure("kid")} AS kid,
       {_figure("kid_floor")} AS kid_floor, {_figure("diversity_between")} AS diversity,
       {_figure("memorised")} AS memorised, {_figure("n_users")} AS n_judged,
       (SELECT MIN(p.at) FROM model_promotion p
        WHERE p.to_model_version_id = m.model_version_id AND {_MOVE}) AS promoted_at,
       (SELECT MAX(p.at) FROM model_promotion p
        WHERE p.to_model_version_id = m.model_version_id AND {_MOVE}) AS live_since,
       (SELECT MIN(p.at) FROM model_promotion p
        WHERE p.to_model_version_id <> m.model_version_id AND {_MOVE}
          AND p.promotion_id > (SELECT MAX(o.promotion_id) FROM model_promotion o
                                WHERE o.to_model_version_id = m.model_version_id
                                  AND o.action IN ('promote', 'manual', 'rollback'))) AS live_until,
       EXISTS (SELECT 1 FROM live_release l WHERE l.model_version_id = m.model_version_id) AS is_live,
       (SELECT COUNT(*) FROM model_promotion p
        WHERE p.to_model_version_id = m.model_version_id AND p.action = 'hold') AS n_holds,
       (SELECT CAST(COALESCE(SUM(d.n_images), 0) AS BIGINT) FROM daily_stat d
        WHERE d.model_version_id = m.model_version_id) AS n_images
FROM model_version m
LEFT JOIN night n ON n.night_id = m.night_id
"""  # noqa: S608 - words of this file

VIEWS: Final = {
    "v_assets": _ASSETS,
    "v_runs": _RUNS,
    "v_users": _USERS,
    "v_recommendations": _RECOMMENDATIONS,
    "v_item_neighbours": _ITEM_NEIGHBOURS,
    "v_user_neighbours": _USER_NEIGHBOURS,
    "v_forgotten": _FORGOTTEN,
    "v_comparisons": _COMPARISONS,
    "v_refused": _REFUSED,
    "v_changed": _CHANGED,
    "v_daily": _DAILY,
    "v_ratings": _RATINGS,
    "v_model_quality": _MODEL_QUALITY,
    "v_health": _HEALTH,
}
"""Name -> SELECT.

v_assets: one row an image. `path` is `shard#member` below the shard root; `preference_hash` names the condition that
    the image was made from; `mlflow_run_id` is the run that generated it and `night_id`, `day`, `as_of` the night that
    did; `top_events` is the JSON of the events that weighed most. `is_current`: it is one of those that stand
    for the user under its own model; `is_live`: and that model and operating point are what users see now. Neither of
    the two is ever null. `generated` is true for all: no picture here was taken by a camera.
v_runs: one row a night and its `kind`, with the images it made, the rows it set aside, the model version it promoted
    (null: none).
v_users: one row a user, with the asset (variant 0) that they see now, the one before it, and the day it last changed.
    `listed`: the source still named them when it was last read. The live columns are null for users who opted out,
    are not listed any more, were forgotten, or have no asset of the live model at its operating point.
v_recommendations: one row a user and rank (1 the best): an item they may like next, as the newest night found it.
v_item_neighbours, v_user_neighbours: one row an item or user and rank (1 the nearest): who or what is liked alike.
    Silent people (opted out, not listed, forgotten) are in neither view of people, on neither side.
v_forgotten: one row a request to forget a person, who is named by `user_key` alone. `removed` is JSON: how many of each
    kind of thing were deleted; `coefficients_at`: when the recommender was first solved without them (null: not yet);
    `erased_at` and `receipt` (JSON): when the last of it was done, what was removed where, and what remains.
v_comparisons: one row a blind choice of a voter (`winner`: left, right or tie) between two models' pictures for a user.
    The versions are null for a snapshot, which has none, and for a challenger that is not registered yet;
    `left_generator` and `right_generator` name the weights in any case. `chosen_version` is null for a tie too.
v_refused: one row an image that a safety filter refused, with its score; `rule` is the filter, its version and the
    threshold. There is no picture of it anywhere.
v_changed: one row a user, model and night in which the user's picture became another one.
v_daily: one row a night, model and segment: what was made; from the roll-up, so that it is never a count of assets.
v_health: one row a night, table and figure of it, with its median, the range that is not odd, and the verdict.
v_ratings: one row an opinion of an asset. v_model_quality: one row a model version, with the figures of its evaluation.

docs/catalogue.md describes every column, with questions and their SQL.
"""

v_assets = table(
    "v_assets",
    column("asset_id", BigInteger),
    column("user_id", String),
    column("path", String),
    column("model_version", Integer),
    column("seed", BigInteger),
    column("score", Float),
    column("variant", Integer),
    column("model_name", String),
    column("night_id", BigInteger),
    column("day", Date),
    column("as_of", UtcDateTime),
    column("segment", String),
    column("mlflow_run_id", String),
    column("preference_hash", String),
    column("n_events", Integer),
    column("top_events", JsonText),
    column("is_current", Boolean),
    column("is_live", Boolean),
    column("generated", Boolean),
)
"""The view as Core sees it, for typed reads."""

v_users = table(
    "v_users", column("user_id", String), column("opted_out", Boolean), column("listed", Boolean),
    column("forgotten", Boolean), column("live_asset_id", BigInteger),
)  # fmt: skip
"""The columns that typed reads ask for."""

v_recommendations = table(
    "v_recommendations", column("user_id", String), column("rank", Integer), column("item_id", String),
    column("title", String), column("score", Float), column("night_id", BigInteger), column("day", Date),
)  # fmt: skip
v_item_neighbours = table(
    "v_item_neighbours", column("item_id", String), column("rank", Integer), column("neighbour_id", String),
    column("neighbour_title", String), column("cosine", Float), column("night_id", BigInteger), column("day", Date),
)  # fmt: skip
v_user_neighbours = table(
    "v_user_neighbours", column("user_id", String), column("rank", Integer), column("neighbour_id", String),
    column("cosine", Float), column("night_id", BigInteger), column("day", Date),
)  # fmt: skip
v_forgotten = table(
    "v_forgotten", column("forgotten_id", BigInteger), column("user_key", BigInteger),
    column("requested_at", UtcDateTime), column("actor", String), column("reason", String),
    column("statistics_exact", Boolean), column("removed", JsonText), column("coefficients_at", UtcDateTime),
    column("coefficients_day", Date), column("erased_at", UtcDateTime), column("receipt", JsonText),
)  # fmt: skip
v_comparisons = table(
    "v_comparisons", column("comparison_id", BigInteger), column("user_id", String), column("winner", String),
    column("voter", String), column("source", String), column("at", UtcDateTime), column("night_id", BigInteger),
    column("day", Date), column("left_version", Integer), column("right_version", Integer),
    column("chosen_version", Integer), column("left_generator", String), column("right_generator", String),
    column("left_variant", Integer), column("right_variant", Integer),
)  # fmt: skip

v_changed = table(
    "v_changed", column("night_id", BigInteger), column("day", Date), column("user_id", String),
    column("segment", String), column("model_name", String), column("model_version", Integer),
    column("old_asset_id", BigInteger), column("new_asset_id", BigInteger), column("shift", Float),
)  # fmt: skip
v_daily = table(
    "v_daily", column("day", Date), column("night_id", BigInteger), column("model_name", String),
    column("model_version", Integer), column("segment", String), column("n_images", BigInteger),
    column("n_users", BigInteger), column("n_changed", BigInteger), column("n_bytes", BigInteger),
    column("n_scored", BigInteger),
    column("mean_score", Float),
)  # fmt: skip


def create_views(connection: Connection) -> None:
    """Create every view; the tables must be there."""
    for name, select in VIEWS.items():
        connection.execute(text(f"CREATE VIEW {name} AS {select}"))


def drop_views(connection: Connection) -> None:
    """Drop the views that are there."""
    for name in VIEWS:
        connection.execute(text(f"DROP VIEW IF EXISTS {name}"))
