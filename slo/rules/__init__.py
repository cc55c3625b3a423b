"""Alerting by Prometheus and Alertmanager: one set of rules for any number of paths and SLOs."""
