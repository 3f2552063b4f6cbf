"""Options that several commands have, with the names and defaults they have always had."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer

from pipeline.housekeeping.config import STORE, Choice, Config, load
from pipeline.housekeeping.keys import FLAT, Kind
from pipeline.housekeeping.opened import OnArchive

TomlFile = Annotated[
    Path | None,
    typer.Option("--toml_file", "-t", metavar="TOML_FILE", help="TOML file with stanzas."),
]
LogStanza = Annotated[
    str | None,
    typer.Option("--log_stanza", "-l", metavar="STANZA", help="Stanza of the log; log when not given."),
]
_DATABASE: Final = ("--database_stanza", "-D")
_STORE: Final = ("--store_stanza", "-S")
_SOURCE: Final = ("--hop_stanza", "-H")
Database = Annotated[
    str | None, typer.Option(*_DATABASE, metavar="STANZA", help="Database; aws-dev-db when not given.")
]
Store = Annotated[
    str | None, typer.Option(*_STORE, metavar="STANZA", help="Object store; S3-dev when not given.")
]
Source = Annotated[
    str | None, typer.Option(*_SOURCE, metavar="STANZA", help="Broker; hop-prod when not given.")
]
MockDatabase = Annotated[
    str | None, typer.Option(*_DATABASE, metavar="STANZA", help="Database; mock-db when not given.")
]
MockStore = Annotated[
    str | None, typer.Option(*_STORE, metavar="STANZA", help="Object store; mock-store when not given.")
]
MockSource = Annotated[
    str | None, typer.Option(*_SOURCE, metavar="STANZA", help="Source; mock-hop when not given.")
]

UTILITY_STANZAS: Final[Mapping[Kind, str]] = {
    "database": "aws-dev-db",
    "store": "S3-dev",
    "source": "hop-prod",
}
"""What `houseutils` takes where no stanza is named."""


def new_app(name: str) -> typer.Typer:
    """Make the application of a command; its help is what its callback's docstring says."""
    return typer.Typer(
        name=name,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )


def begin(context: typer.Context, toml_file: Path | None, log_stanza: str | None) -> None:
    """Keep what was said before the sub-command; without one, print the help and exit with status 1."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(1)
    context.obj = Choice(file=toml_file, log=log_stanza)


def config_of(context: typer.Context, **chosen: Any) -> Config:
    """Merge the configuration of a command from what it chose, and set up logging by it."""
    from pipeline.housekeeping import logs

    config = load(context.obj._replace(**chosen))
    logs.configure(config)
    return config


def utility_config(context: typer.Context, **chosen: str | None) -> Config:
    """Merge the configuration of a command of `houseutils`, whose stanzas have defaults of their own."""
    return config_of(context, defaults=UTILITY_STANZAS, **chosen)


def on_archive(context: typer.Context, **chosen: str | None) -> OnArchive:
    """Give what runs work on the archive a command chose; without a choice of store it opens none."""
    config = utility_config(context, **chosen)
    return OnArchive(config, scratch_of(context), uses=STORE if "store" in chosen else ())


def scratch_of(context: typer.Context) -> Path:
    """Make a folder that is gone when the command ends; mocks live there."""
    return Path(context.with_resource(TemporaryDirectory(prefix="housekeeping-")))


def with_flat_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each name of the second generation; it gets those used as `options`."""
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.name != "options"]
    names = {name.replace("-", "_"): name for name in FLAT}

    @wraps(command)
    def run(**given: Any) -> None:
        options = {name: given.pop(spelled) for spelled, name in names.items()}
        command(**given, options={name: value for name, value in options.items() if value})

    flat = [
        inspect.Parameter(
            spelled, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name)
        )
        for spelled, name in names.items()
    ]
    # Here typer reads what a command takes.
    run.__signature__ = signature.replace(parameters=[*own, *flat])  # type: ignore[attr-defined]
    return run


def _annotation(name: str) -> Any:
    key = FLAT[name]
    shown = f"{key.meaning[0].upper()}{key.meaning[1:]}; as {key.name} in a stanza."
    option = typer.Option(f"--{name}", metavar="VALUE", help=shown)
    return Annotated[list[str] | None, option] if key.form == "names" else Annotated[str | None, option]
