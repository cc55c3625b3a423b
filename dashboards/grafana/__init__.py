"""Dashboards for Grafana 12 and 13, made by grafanalib. `build` has all of them."""
