"""The plugin kit: write what finds something out about files, test it alone, run it against a Headrace.

    from headrace import Job, Plugin

Importing it starts nothing and needs no server; what talks to one is imported when it does. docs/plugins.md
has a worked example.
"""

from headrace.features import feature
from headrace.job import Child, Job
from headrace.plugin import Plugin

__all__ = ["Child", "Job", "Plugin", "feature"]
