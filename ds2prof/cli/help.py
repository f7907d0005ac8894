"""``ds2prof help``: the help of a command, for those who type the word first."""

from __future__ import annotations

import click

from ds2prof.cli.pages import Page
from ds2prof.errors import UsageError


@click.command("help", cls=Page)
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
def command(words: tuple[str, ...]) -> None:
    """Show the help of a command, the same as its '--help'.

    \b
    ds2prof help
    ds2prof help parse
    ds2prof help bench deepmark

    Exit codes: 0 done, 2 there is no such command.
    """
    from ds2prof.cli import cli

    found: click.Command = cli
    ctx = click.Context(found, info_name="ds2prof", **found.context_settings)
    for word in words:
        below = found.get_command(ctx, word) if isinstance(found, click.Group) else None
        if below is None:
            raise UsageError(f"help: no command {' '.join(words)!r}; 'ds2prof --help' lists them")
        found, ctx = below, click.Context(below, info_name=word, parent=ctx, **below.context_settings)
    click.echo(found.get_help(ctx))
