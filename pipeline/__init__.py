"""Headrace: files and events in, answers out, and nothing lost on the way.

Sits below `agents` (one Faust agent a file) and `tables` (one Faust table a file); holds the ports
(log, objects, database, index), the jobs built on them, the web surface and the commands.
"""

from importlib.metadata import version

__version__ = version("headrace")
