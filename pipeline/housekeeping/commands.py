"""`housekeeping`: archive messages, and show the stanzas (archive contract, section 15.1)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from pprint import pformat
from typing import Annotated, Any

import msgspec
import typer

from pipeline.cli import output
from pipeline.cli.loop import run_loop
from pipeline.housekeeping import options as given
from pipeline.housekeeping.stanzas import stanza_file

TestTopic = Annotated[
    bool, typer.Option("--test_topic", "-t", help="Read the test topic alone, up to its end marker.")
]
Verify = Annotated[
    bool, typer.Option("--verify", "-v", help="Read each stored message back and compare it.")
]
UntilEos = Annotated[bool, typer.Option("--until-eos", help="End where the topics end.")]
MaxMessages = Annotated[
    int, typer.Option("--max-messages", metavar="N", min=0, help="End after so many messages; 0: do not.")
]
OnceStats = Annotated[bool, typer.Option("--once-stats", help="Print what was done as JSON at the end.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config-file", "-f", metavar="FILE", help="TOML file without stanzas.")
]


app = given.new_app("housekeeping")


@app.callback(invoke_without_command=True)
def before(
    context: typer.Context, toml_file: given.TomlFile = None, log_stanza: given.LogStanza = None
) -> None:
    """Archive messages: an object in a store and a row in a database for each, duplicates left out.

    Source, database and store are chosen by the names of stanzas in a TOML file; each may be a mock.
    """
    given.begin(context, toml_file, log_stanza)


def run(
    context: typer.Context,
    *,
    database: given.MockDatabase = None,
    source: given.MockSource = None,
    store: given.MockStore = None,
    test_topic: TestTopic = False,
    verify: Verify = False,
    until_eos: UntilEos = False,
    max_messages: MaxMessages = 0,
    once_stats: OnceStats = False,
    config_file: ConfigFile = None,
    options: Mapping[str, Any],
) -> None:
    """Archive until stopped; with no options everything is a mock.

    The options after --config-file set single keys, by the names of the second generation of the archive.

    Example: housekeeping run -H hop-local -D local-db -S mock-store
    """
    from pipeline.housekeeping.run import Wishes, archive
    from pipeline.housekeeping.watch import Counts

    config = given.config_of(
        context,
        database=database,
        source=source,
        store=store,
        flat_file=config_file,
        options=options,
    )
    wishes = Wishes(test_run=test_topic, verify=verify, until_eos=until_eos, max_messages=max_messages)
    counts = Counts()
    try:
        # Being stopped is how a run that has no end ends well.
        with suppress(KeyboardInterrupt):
            run_loop(archive(config, wishes, counts, given.scratch_of(context)))
    finally:
        if once_stats:
            output.print_json(msgspec.to_builtins(counts))


app.command("run")(given.with_flat_options(run))


@app.command("list")
def list_stanzas(context: typer.Context) -> None:
    """Print the name of the TOML file and what stands in it.

    Example: housekeeping list
    """
    file = stanza_file(context.obj.file)
    typer.echo(file.path)
    typer.echo(pformat(dict(file.content), sort_dicts=False))
