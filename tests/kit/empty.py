"""A plugin somebody forgot to give a function."""

from headrace import Plugin

plugin = Plugin("empty", "1.0")
