"""The tables of the SQLite store.

A received body is kept as it came until it is compacted; then its points stand, packed, in the
tiers: 10 s windows by series and 5 min (`hot`), 5 min windows (`warm`), days (`day`), and all
that ever came (`ever`). A body goes in the transaction that writes its points, so at any time each
point is either in a body or in all tiers. Totals and `ever` hold what was compacted, and only grow.
When each site last delivered late outlives its bodies in `late_arrivals`.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x6E736C6F  # "nslo", so that a foreign file is told from ours
VERSION: Final = 4

_TIER = """
CREATE TABLE {tier} (
    series INTEGER NOT NULL, start_s INTEGER NOT NULL,
    sketches BLOB NOT NULL, numbers BLOB NOT NULL,
    UNIQUE (series, start_s)
);
CREATE INDEX {tier}_by_time ON {tier}(start_s);
"""
_EVER = _TIER.format(tier="ever")
_LATE = """
CREATE TABLE late_arrivals (site TEXT PRIMARY KEY, received_s REAL NOT NULL) WITHOUT ROWID;
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
)

# What an older store lacks, by its version.
UPGRADES: Final = {2: _EVER + _LATE, 3: _LATE}
