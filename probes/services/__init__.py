"""Exchanges with services: TCP, TLS, HTTP and DNS as their users meet them."""
