"""The dashboards without a Grafana: their own JSON, queried and drawn. A preview, not Grafana."""
