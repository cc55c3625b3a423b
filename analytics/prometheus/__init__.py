"""What Prometheus reads: native histograms, its protobuf exposition and remote write."""
