"""A plugin as people write one, found by its module."""

from headrace import Job, Plugin

plugin = Plugin("counting", "1.0", features={"lines": "integer"})


@plugin.run
def count(job: Job) -> None:
    """Count lines."""
    job.feature("lines", job.content().count(b"\n"))


if __name__ == "__main__":
    plugin.main()
