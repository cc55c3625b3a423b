"""Computing: the sketch, its kernels, the OTLP codec, the window store and the collector."""
