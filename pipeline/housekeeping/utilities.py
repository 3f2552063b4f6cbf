"""`houseutils`: look at an archive, try it, put it in order (archive contract, section 15.2)."""

from __future__ import annotations

import typer

from pipeline.housekeeping import looking, moving, tidying
from pipeline.housekeeping import options as given
from pipeline.housekeeping.commands import list_stanzas

app = given.new_app("houseutils")


@app.callback(invoke_without_command=True)
def before(
    context: typer.Context, toml_file: given.TomlFile = None, log_stanza: given.LogStanza = None
) -> None:
    """Look at an archive of messages, publish test data, verify and clean it.

    Broker, database and store are chosen by the names of stanzas in a TOML file.
    """
    given.begin(context, toml_file, log_stanza)


app.command("list")(list_stanzas)
looking.register(app)
tidying.register(app)
moving.register(app)
