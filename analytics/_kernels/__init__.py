"""Compiled inner loops: arrays and scalars in and out, unchecked. Callers check, kernels trust."""
