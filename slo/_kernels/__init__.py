"""Compiled loops. Arrays and scalars in and out; callers check, kernels trust."""
