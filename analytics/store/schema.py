"""The tables of the SQLite store.

A received body is kept as it came until it is compacted; then its points stand, packed, in the
tiers: 10 s windows by series and 5 min (`hot`), 5 min windows (`warm`), days (`day`), and all
that ever came (`ever`). A body goes in the transaction that writes its points, so at any time each
point is either in a body or in all tiers. Totals and `ever` hold what was compacted, and only grow.
`warm_days` is a copy of what `warm` counts, by day, for who reads weeks of it; it outlives `warm`,
as the numbers of `day` do.
When each site last delivered late outlives its bodies in `late_arrivals`.

Routes and capacity stand in tables of their own, written in the transaction of their batch.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x6E736C6F  # "nslo", so that a foreign file is told from ours
VERSION: Final = 8

_TIER = """
CREATE TABLE {tier} (
    series INTEGER NOT NULL, start_s INTEGER NOT NULL,
    sketches BLOB NOT NULL, numbers BLOB NOT NULL,
    UNIQUE (series, start_s)
);
CREATE INDEX {tier}_by_time ON {tier}(start_s);
"""
_EVER = _TIER.format(tier="ever")
_PACKED = """
CREATE TABLE warm_days (
    series INTEGER NOT NULL, start_s INTEGER NOT NULL, numbers BLOB NOT NULL,
    UNIQUE (series, start_s)
);
CREATE INDEX warm_days_by_time ON warm_days(start_s);
CREATE INDEX warm_days_due ON warm_days(start_s) WHERE numbers = x'';
"""
# Version 6 dropped copies with the rows: what is left is complete from there on. Series that came
# late to a day had none; days are looked through once more.
_COUNTS = """
INSERT OR REPLACE INTO watermarks(name, unix_s)
    SELECT 'counts_from', unix_s FROM watermarks WHERE name = 'warm_from';
DELETE FROM watermarks WHERE name = 'packed_from';
"""
_LATE = """
CREATE TABLE late_arrivals (site TEXT PRIMARY KEY, received_s REAL NOT NULL) WITHOUT ROWID;
"""
_PATH = "src TEXT NOT NULL, dst TEXT NOT NULL, class TEXT NOT NULL"
_ROUTE = """
    protocol TEXT NOT NULL, flow INTEGER NOT NULL,
    reached INTEGER NOT NULL, path_mtu INTEGER, hops TEXT NOT NULL
"""
_READING = """
    measured_ns INTEGER NOT NULL, metric TEXT NOT NULL,
    direction TEXT NOT NULL, method TEXT NOT NULL, value REAL NOT NULL,
    state TEXT NOT NULL, quantile TEXT NOT NULL
"""
_ROUTES = f"""
CREATE TABLE routes (
    {_PATH}, {_ROUTE}, seen_ns INTEGER NOT NULL, gap_ns INTEGER NOT NULL,
    UNIQUE (src, dst, class, protocol, flow)
);
CREATE TABLE path_changes (
    id INTEGER PRIMARY KEY, {_PATH}, {_ROUTE}, changed_ns INTEGER NOT NULL,
    before_seen_ns INTEGER NOT NULL, before_reached INTEGER NOT NULL, before_hops TEXT NOT NULL
);
CREATE INDEX path_changes_by_path ON path_changes(src, dst, class, changed_ns);
CREATE INDEX path_changes_by_time ON path_changes(changed_ns);
CREATE TABLE path_change_totals (
    {_PATH}, changes INTEGER NOT NULL, PRIMARY KEY (src, dst, class)
) WITHOUT ROWID;
CREATE TABLE readings (id INTEGER PRIMARY KEY, {_PATH}, {_READING});
CREATE INDEX readings_by_path ON readings(src, dst, class, measured_ns);
CREATE INDEX readings_by_time ON readings(measured_ns);
CREATE TABLE latest_readings (
    {_PATH}, {_READING}, gap_ns INTEGER NOT NULL,
    UNIQUE (src, dst, class, metric, direction, method, state, quantile)
);
"""

SCHEMA: Final = (
    """
CREATE TABLE batches (
    instance TEXT NOT NULL, sequence INTEGER NOT NULL, received_s REAL NOT NULL,
    PRIMARY KEY (instance, sequence)
) WITHOUT ROWID;
CREATE INDEX batches_by_time ON batches(received_s);
CREATE TABLE bodies (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    site TEXT NOT NULL,
    first_s INTEGER NOT NULL, end_s INTEGER NOT NULL,
    received_s REAL NOT NULL,
    encoding TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX bodies_by_site ON bodies(site, first_s, end_s);
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    src TEXT NOT NULL, dst TEXT NOT NULL, class TEXT NOT NULL, probe TEXT NOT NULL
);
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    kind TEXT NOT NULL, name TEXT NOT NULL, detail TEXT NOT NULL, direction TEXT NOT NULL
);
CREATE TABLE watermarks (name TEXT PRIMARY KEY, unix_s INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE objectives (
    slo TEXT NOT NULL, since_s INTEGER NOT NULL, target TEXT NOT NULL,
    PRIMARY KEY (slo, since_s)
) WITHOUT ROWID;
CREATE TABLE totals (
    stream INTEGER NOT NULL, since_s INTEGER NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (stream, since_s)
) WITHOUT ROWID;
"""
    + _TIER.format(tier="hot")
    + _TIER.format(tier="warm")
    + _TIER.format(tier="day")
    + _EVER
    + _LATE
    + _ROUTES
    + _PACKED
)

# What an older store lacks, by its version.
UPGRADES: Final = {
    2: _EVER + _LATE + _ROUTES + _PACKED + _COUNTS,
    3: _LATE + _ROUTES + _PACKED + _COUNTS,
    4: _ROUTES + _PACKED + _COUNTS,
    5: _PACKED + _COUNTS,
    6: _COUNTS,
    7: "",  # days packed as columns of octets are read as they are
}
