"""The collector's built-in page: what the estate looks like, without any other service."""
