"""Alerting without Prometheus: the collector judges by its ledger and tells Alertmanager."""
