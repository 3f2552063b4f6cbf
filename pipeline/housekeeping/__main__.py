"""``python -m pipeline.housekeeping`` is `housekeeping`."""

from pipeline.housekeeping.main import housekeeping

housekeeping()
