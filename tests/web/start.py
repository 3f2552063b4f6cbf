"""When the clocks of tests begin."""

from __future__ import annotations

import datetime as dt

STARTED = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
