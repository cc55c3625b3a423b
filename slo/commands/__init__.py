"""The commands of `netslo slo`, by what they are about."""
