"""A small real network for the demo: this kernel's own routing, in namespaces nobody else sees."""
