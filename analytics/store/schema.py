"""The tables of the SQLite store.

10 s windows (`hot_*`) roll up into 5 min ones (`warm_*`), which have the same columns. Totals
only ever grow; they and the batch's identity change in the transaction that keeps its data.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x6E736C6F  # "nslo", so that a foreign file is told from ours
VERSION: Final = 1

_TIER = """
CREATE TABLE {tier}_windows (
    series INTEGER NOT NULL REFERENCES series(id),
    start_s INTEGER NOT NULL,
    answered INTEGER NOT NULL, lost INTEGER NOT NULL, unmeasured INTEGER NOT NULL,
    duplicates INTEGER NOT NULL, reordered INTEGER NOT NULL,
    jitter_s REAL,
    PRIMARY KEY (series, start_s)
) WITHOUT ROWID;
CREATE INDEX {tier}_windows_by_time ON {tier}_windows(start_s);
CREATE TABLE {tier}_sketches (
    series INTEGER NOT NULL, start_s INTEGER NOT NULL,
    metric TEXT NOT NULL, quality TEXT NOT NULL, direction TEXT NOT NULL,
    point BLOB NOT NULL,
    UNIQUE (series, start_s, metric, quality, direction)
);
CREATE INDEX {tier}_sketches_by_time ON {tier}_sketches(start_s);
CREATE TABLE {tier}_slo (
    series INTEGER NOT NULL, start_s INTEGER NOT NULL, slo TEXT NOT NULL,
    good INTEGER NOT NULL, bad INTEGER NOT NULL, unmeasured INTEGER NOT NULL,
    PRIMARY KEY (series, start_s, slo)
) WITHOUT ROWID;
CREATE INDEX {tier}_slo_by_time ON {tier}_slo(start_s);
"""

SCHEMA: Final = (
    """
CREATE TABLE batches (
    instance TEXT NOT NULL, sequence INTEGER NOT NULL, received_s REAL NOT NULL,
    PRIMARY KEY (instance, sequence)
) WITHOUT ROWID;
CREATE INDEX batches_by_time ON batches(received_s);
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    src TEXT NOT NULL, dst TEXT NOT NULL, class TEXT NOT NULL, probe TEXT NOT NULL,
    UNIQUE (src, dst, class, probe)
);
CREATE TABLE dirty (
    start_s INTEGER NOT NULL, series INTEGER NOT NULL,
    PRIMARY KEY (start_s, series)
) WITHOUT ROWID;
CREATE TABLE watermarks (name TEXT PRIMARY KEY, unix_s INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE objectives (
    slo TEXT NOT NULL, since_s INTEGER NOT NULL, target TEXT NOT NULL,
    PRIMARY KEY (slo, since_s)
) WITHOUT ROWID;
CREATE TABLE packet_totals (
    series INTEGER PRIMARY KEY,
    answered INTEGER NOT NULL, lost INTEGER NOT NULL, unmeasured INTEGER NOT NULL,
    duplicates INTEGER NOT NULL, reordered INTEGER NOT NULL
);
CREATE TABLE slo_totals (
    series INTEGER NOT NULL, slo TEXT NOT NULL, since_s INTEGER NOT NULL,
    good INTEGER NOT NULL, bad INTEGER NOT NULL, unmeasured INTEGER NOT NULL,
    PRIMARY KEY (series, slo, since_s)
) WITHOUT ROWID;
"""
    + _TIER.format(tier="hot")
    + _TIER.format(tier="warm")
)
