"""Which way packets go: the hops of fixed flows, and the largest packet that passes."""
