"""Plugins the tests run."""

from __future__ import annotations

from typing import Any

from headrace import Job, Plugin, feature
from headrace.plugin import Function

FEATURES = {"lines": feature("integer", "Line feeds in it"), "first": "string", "ratio": "float"}


def plugin_of(function: Function, **how: Any) -> Plugin:
    """Make a plugin around a function."""
    made = Plugin("tested", "1.0", **{"features": FEATURES, **how})
    made.run(function)
    return made


def count(job: Job) -> None:
    """Count lines."""
    job.feature("lines", job.content().count(b"\n"))


def everything(job: Job) -> None:
    """Use all there is to say."""
    lines = job.content().splitlines()
    job.feature("lines", len(lines))
    job.feature("first", lines[0].decode(), label="line", offset=0, size=len(lines[0]))
    job.info({"longest": max(map(len, lines))})
    job.stream("text", job.content().upper())
    for number, line in enumerate(lines):
        child = job.child(line, relationship={"line": str(number)}, filename=f"{number}.txt", language="en")
        child.feature("lines", 1)
