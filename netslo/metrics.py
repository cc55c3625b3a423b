"""The one list of metric and attribute names, OpenTelemetry's and Prometheus'.

Probes, collector, rules and dashboards take names from here and nowhere else.
"""

from __future__ import annotations

from typing import Final

# OTLP, from probe to collector
SERVICE_NAME: Final = "netslo-probe"
RTT: Final = "network.probe.rtt"  # exponential histogram, s
DELAY: Final = "network.probe.delay"  # exponential histogram, s; direction=forward|reverse
DELAY_VARIATION: Final = "network.probe.delay.variation"  # as DELAY; RFC 5481 PDV one way
JITTER: Final = "network.probe.jitter"  # exponential histogram, s; RFC 5481 PDV
IPDV: Final = "network.probe.ipdv"  # exponential histogram, s, signed; RFC 3393
LOSS_PERIOD: Final = "network.probe.loss.period"  # exponential histogram, {packet}; RFC 3357
LOSS_DISTANCE: Final = "network.probe.loss.distance"  # exponential histogram, {packet}; RFC 3357
REORDERING_EXTENT: Final = "network.probe.reordering.extent"  # exp. histogram, {packet}; RFC 4737
DIRECTED_LOSS: Final = "network.probe.packets.lost"  # sum, {packet}; direction
TRANSITIONS: Final = "network.probe.loss.transitions"  # sum, {packet}; transition
NEGATIVE_DELAYS: Final = "network.probe.delay.negative"  # sum, {packet}; direction
WITHHELD_DELAYS: Final = "network.probe.delay.withheld"  # sum, {packet}; direction, reason
REMARKED: Final = "network.probe.packets.remarked"  # sum, {packet}; dscp
TTL_CHANGES: Final = "network.probe.ttl.changes"  # sum, {change}; direction
DELAY_ERROR: Final = "network.probe.delay.error"  # gauge, s
CLOCK_OFFSET: Final = "network.probe.clock.offset"  # gauge, s; the far clock minus ours
CLOCK_OFFSET_ERROR: Final = "network.probe.clock.offset.error"  # gauge, s
INTERARRIVAL_JITTER: Final = "network.probe.jitter.interarrival"  # gauge, s; RFC 3550
PACKETS: Final = "network.probe.packets"  # sum, {packet}; outcome
SET_ASIDE: Final = "network.probe.packets.unmeasured"  # sum, {packet}; cause: as no evidence
DUPLICATES: Final = "network.probe.packets.duplicate"  # sum, {packet}; RFC 5560
REORDERED: Final = "network.probe.packets.reordered"  # sum, {packet}; RFC 4737
RESULTS: Final = "network.probe.results"  # sum, {request}; result: how exchanges ended
PHASE_DNS: Final = "network.probe.phase.dns"  # exponential histogram, s
PHASE_CONNECT: Final = "network.probe.phase.connect"  # exponential histogram, s
PHASE_TLS: Final = "network.probe.phase.tls"  # exponential histogram, s
PHASE_FIRST_BYTE: Final = "network.probe.phase.first_byte"  # exponential histogram, s
PHASE_TRANSFER: Final = "network.probe.phase.transfer"  # exponential histogram, s
PATH_HOPS: Final = "network.path.hops"  # gauge, {hop}; flow, protocol, hops: a route as it was seen
BANDWIDTH: Final = "network.path.bandwidth"  # gauge, bit/s; direction, method
LOADED_RTT: Final = "network.path.loaded_rtt"  # gauge, s; as BANDWIDTH, and state, quantile
SLO_EVENTS: Final = "network.probe.slo_events"  # sum, {event}; slo, result=good|bad|unmeasured

# The probe's own health, by opentelemetry-sdk through the same door
SEND_LATENESS: Final = "netslo.probe.send.lateness"  # histogram, s
SPOOL_BATCHES: Final = "netslo.probe.spool.batches"  # gauge, {batch}
SPOOL_HELD: Final = "netslo.probe.spool.held"  # gauge, {batch}: failing while others are taken
DISCARDED: Final = "netslo.probe.discarded"  # sum, {packet}; reason
TRACES: Final = "netslo.probe.traces"  # sum, {trace}; result
CLOCK_ERROR: Final = "netslo.probe.clock.error"  # gauge, s
LACKS: Final = "netslo.probe.lacks"  # gauge, always 1; notice
FLOW_RTT: Final = "netslo.probe.flow.rtt"  # gauge, s; path, flow: the median of 10 s
FLOW_LOSS: Final = "netslo.probe.flow.loss"  # gauge, 1; path, flow: the ratio of 10 s
CERTIFICATE_EXPIRY: Final = "netslo.probe.certificate.expiry"  # gauge, s of Unix time; path
TESTS: Final = "netslo.probe.bandwidth.tests"  # sum, {test}; outcome: of regular ones
BUDGET: Final = "netslo.probe.bandwidth.budget"  # gauge, By: of the site, for a UTC day
BUDGET_USED: Final = "netslo.probe.bandwidth.used"  # gauge, By: of that, today
NOISE_FLOOR: Final = "netslo.probe.noise_floor"  # gauge, s; quantile: the host's own round trip

# Resource and data-point attributes
ATTR_SERVICE_NAME: Final = "service.name"
ATTR_INSTANCE: Final = "service.instance.id"
ATTR_SITE: Final = "netslo.site"
ATTR_SEQUENCE: Final = "netslo.batch.sequence"
ATTR_SRC: Final = "src_site"
ATTR_DST: Final = "dst_site"
ATTR_CLASS: Final = "class"
ATTR_PROBE: Final = "probe"
ATTR_QUALITY: Final = "quality"
ATTR_DIRECTION: Final = "direction"
ATTR_OUTCOME: Final = "outcome"
ATTR_TRANSITION: Final = "transition"
ATTR_REASON: Final = "reason"
ATTR_CAUSE: Final = "cause"
ATTR_DSCP: Final = "dscp"
ATTR_SLO: Final = "slo"
ATTR_RESULT: Final = "result"
ATTR_QUANTILE: Final = "quantile"
ATTR_FLOW: Final = "flow"
ATTR_PROTOCOL: Final = "protocol"
ATTR_FINGERPRINT: Final = "fingerprint"
ATTR_REACHED: Final = "reached"
ATTR_HOPS: Final = "hops"
ATTR_PATH_MTU: Final = "path_mtu"
ATTR_PREVIOUS_HOPS: Final = "previous_hops"
ATTR_PREVIOUS_FINGERPRINT: Final = "previous_fingerprint"
ATTR_PREVIOUS_SEEN: Final = "previous_seen"
ATTR_METHOD: Final = "method"
ATTR_STATE: Final = "state"

PROBE_TRACE: Final = "trace"  # of ATTR_PROBE, where routes are observed
PROBE_BANDWIDTH: Final = "bandwidth"  # likewise, of capacity tests

# Prometheus, from the collector's /metrics
PROM_RTT: Final = "network_probe_rtt_seconds"  # native histogram
PROM_DELAY: Final = "network_probe_delay_seconds"  # native histogram; direction
PROM_DELAY_VARIATION: Final = "network_probe_delay_variation_seconds"  # native; direction
PROM_IPDV: Final = "network_probe_ipdv_seconds"  # native histogram, signed
PROM_LOSS_PERIOD: Final = "network_probe_loss_period_packets"  # native histogram
PROM_LOSS_DISTANCE: Final = "network_probe_loss_distance_packets"  # native histogram
PROM_REORDERING_EXTENT: Final = "network_probe_reordering_extent_packets"  # native histogram
PROM_DELAY_QUANTILE: Final = "network_probe_delay_quantile_seconds"
PROM_DELAY_VARIATION_QUANTILE: Final = "network_probe_delay_variation_quantile_seconds"
PROM_INTERARRIVAL_JITTER: Final = "network_probe_jitter_interarrival_seconds"
PROM_DELAY_ERROR: Final = "network_probe_delay_error_seconds"
PROM_CLOCK_OFFSET: Final = "network_probe_clock_offset_seconds"
PROM_CLOCK_OFFSET_ERROR: Final = "network_probe_clock_offset_error_seconds"
PROM_DIRECTED_LOSS: Final = "network_probe_packets_lost_total"
PROM_TRANSITIONS: Final = "network_probe_loss_transitions_total"
PROM_NEGATIVE_DELAYS: Final = "network_probe_delay_negative_total"
PROM_WITHHELD_DELAYS: Final = "network_probe_delay_withheld_total"
PROM_REMARKED: Final = "network_probe_packets_remarked_total"
PROM_TTL_CHANGES: Final = "network_probe_ttl_changes_total"
PROM_RTT_QUANTILE: Final = "network_probe_rtt_quantile_seconds"
PROM_JITTER: Final = "network_probe_jitter_seconds"
PROM_PACKETS: Final = "network_probe_packets_total"
PROM_SET_ASIDE: Final = "network_probe_packets_unmeasured_total"
PROM_DUPLICATES: Final = "network_probe_packets_duplicate_total"
PROM_REORDERED: Final = "network_probe_packets_reordered_total"
PROM_RESULTS: Final = "network_probe_results_total"
PROM_PHASE_DNS: Final = "network_probe_phase_dns_seconds"  # native histogram
PROM_PHASE_CONNECT: Final = "network_probe_phase_connect_seconds"  # native histogram
PROM_PHASE_TLS: Final = "network_probe_phase_tls_seconds"  # native histogram
PROM_PHASE_FIRST_BYTE: Final = "network_probe_phase_first_byte_seconds"  # native histogram
PROM_PHASE_TRANSFER: Final = "network_probe_phase_transfer_seconds"  # native histogram
PROM_PATH_HOPS: Final = "network_path_hops"
PROM_PATH_CHANGES: Final = "network_path_changes_total"
PROM_PATH_MTU: Final = "network_path_mtu_bytes"
PROM_BANDWIDTH: Final = "network_path_bandwidth_bits_per_second"
PROM_LINK_CAPACITY: Final = "network_path_link_capacity_bits_per_second"
PROM_LOADED_RTT: Final = "network_path_loaded_rtt_seconds"
PROM_SLO_EVENTS: Final = "slo_events_total"
PROM_SLO_BAD_EVENTS: Final = "slo_bad_events_total"
PROM_SLO_BUDGET_EVENTS: Final = "slo_budget_events_total"
PROM_SLO_UNMEASURED_EVENTS: Final = "slo_unmeasured_events_total"
PROM_SLO_BURN_RATE: Final = "slo_burn_rate"
PROM_SLO_BUDGET_REMAINING: Final = "slo_error_budget_remaining_ratio"
PROM_SLO_EXHAUSTION: Final = "slo_exhaustion_timestamp_seconds"
PROM_SLO_COVERAGE: Final = "slo_coverage_ratio"
PROM_SLO_OBJECTIVE: Final = "slo_objective_ratio"
PROM_SLO_INFO: Final = "slo_info"
PROM_SLO_BURN_THRESHOLD: Final = "slo_burn_threshold"
PROM_SLO_BAD_EVENTS_MIN: Final = "slo_bad_events_min"
PROM_SLO_BUDGET_EVENTS_MIN: Final = "slo_budget_events_min"
PROM_SLO_SITE_PEERS: Final = "slo_site_peers"
PROM_SLO_EXCLUDED: Final = "slo_excluded"
PROM_SLO_LIMIT: Final = "slo_limit_seconds"
PROM_SITE_INFO: Final = "netslo_site_info"

# Prometheus, the probes' own health and the collector's
PROM_PROBE_LATENESS: Final = "netslo_probe_send_lateness_max_seconds"
PROM_PROBE_SPOOL: Final = "netslo_probe_spool_batches"
PROM_PROBE_HELD: Final = "netslo_probe_spool_held_batches"
PROM_PROBE_DISCARDED: Final = "netslo_probe_discarded_total"
PROM_PROBE_TRACES: Final = "netslo_probe_traces_total"
PROM_PROBE_CLOCK_ERROR: Final = "netslo_probe_clock_error_seconds"
PROM_PROBE_LACKS: Final = "netslo_probe_lacks"
PROM_PROBE_FLOW_RTT: Final = "netslo_probe_flow_rtt_median_seconds"
PROM_PROBE_FLOW_LOSS: Final = "netslo_probe_flow_loss_ratio"
PROM_PROBE_NOISE_FLOOR: Final = "netslo_probe_noise_floor_seconds"
PROM_PROBE_CERTIFICATE: Final = "netslo_probe_certificate_expiry_timestamp_seconds"
PROM_PROBE_TESTS: Final = "netslo_probe_bandwidth_tests_total"
PROM_PROBE_BUDGET: Final = "netslo_probe_bandwidth_budget_bytes"
PROM_PROBE_BUDGET_USED: Final = "netslo_probe_bandwidth_used_bytes"
PROM_PROBE_LAST_WINDOW: Final = "netslo_probe_last_window_timestamp_seconds"
PROM_PROBE_LATE_ARRIVAL: Final = "netslo_probe_late_arrival_timestamp_seconds"
PROM_COLLECTOR_REQUESTS: Final = "netslo_collector_requests_total"
PROM_COLLECTOR_BYTES: Final = "netslo_collector_received_bytes_total"
PROM_COLLECTOR_WINDOWS: Final = "netslo_collector_windows_total"
PROM_COLLECTOR_DUPLICATES: Final = "netslo_collector_duplicate_batches_total"
PROM_COLLECTOR_REFUSED: Final = "netslo_collector_refused_points_total"
PROM_COLLECTOR_COMMIT: Final = "netslo_collector_commit_seconds"
PROM_COLLECTOR_LAST_COMMIT: Final = "netslo_collector_last_commit_timestamp_seconds"
PROM_REMOTE_WRITE_SENT: Final = "netslo_remote_write_requests_total"
PROM_REMOTE_WRITE_DROPPED: Final = "netslo_remote_write_dropped_requests_total"
PROM_REMOTE_WRITE_QUEUE: Final = "netslo_remote_write_queue_bytes"
