#!/bin/sh
# Makes what Prometheus, Alertmanager and Grafana need for an estate:
#   deploy/generate.sh CONFIG OUTPUT
# Writes OUTPUT/prometheus, OUTPUT/alertmanager and OUTPUT/grafana. In the images it is called
# netslo-generate. Its environment, with defaults for Compose and Kubernetes:
#   NETSLO_PAGER_URL         where every receiver of Alertmanager is told
#   NETSLO_PROMETHEUS_URL    where Grafana finds Prometheus
#   NETSLO_ALERTMANAGER_URL  where Grafana finds Alertmanager
#   NETSLO_GRAFANA_URL       where people find Grafana; without it alerts link to Prometheus' graph
#   NETSLO_RUNBOOKS_URL      where alerts find their runbooks
#   NETSLO_STORE             the collector's store: exclusions that were declared beside it mute, too
set -eu
config=${1:?usage: generate.sh CONFIG OUTPUT}
output=${2:?usage: generate.sh CONFIG OUTPUT}
mkdir -p "$output"
output=$(cd "$output" && pwd)

set -- --runbooks "${NETSLO_RUNBOOKS_URL:-docs/runbooks}"
if [ -n "${NETSLO_GRAFANA_URL:-}" ]; then
  set -- "$@" --dashboard "${NETSLO_GRAFANA_URL%/}/d/netslo-slo"
fi
netslo slo rules -c "$config" -o "$output/prometheus" "$@"
set --
if [ -n "${NETSLO_STORE:-}" ]; then
  set -- --store "$NETSLO_STORE"
fi
netslo slo alertmanager -c "$config" -o "$output/alertmanager/alertmanager.yml" \
  --webhook "${NETSLO_PAGER_URL:-http://webhook:9095/}" "$@"
netslo dashboards build -c "$config" -o "$output/grafana" \
  --prometheus "${NETSLO_PROMETHEUS_URL:-http://prometheus:9090}" \
  --alertmanager "${NETSLO_ALERTMANAGER_URL:-http://alertmanager:9093}" \
  --mount "$output/grafana/dashboards"
