"""Randomness of a test: the same each time, told when it fails, changed by an environment variable."""

from __future__ import annotations

import os
import random
import sys

VARIABLE = "HEADRACE_TEST_SEED"


def seeded(usual: int) -> random.Random:
    """Return a source of randomness; its seed is `usual` unless the environment gives another."""
    seed = int(os.environ.get(VARIABLE, usual))
    sys.stdout.write(f"{VARIABLE}={seed}\n")  # pytest shows it with a failure
    return random.Random(seed)  # noqa: S311 - it chooses moments, not secrets
