"""What this host can measure with: each finding is tried, not assumed."""

from netslo.app.doctor.examination import Examination, examine
from netslo.app.doctor.finding import Finding

__all__ = ["Examination", "Finding", "examine"]
