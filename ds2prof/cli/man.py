"""``ds2prof man``: manual pages of all commands."""

from __future__ import annotations

from pathlib import Path

import click

from ds2prof import __version__
from ds2prof.cli.pages import Page
from ds2prof.errors import UsageError
from ds2prof.measurements import written_whole


@click.command("man", cls=Page)
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the pages of all commands into this folder, as ds2prof.1, ds2prof-parse.1 and so on.",
)
def command(words: tuple[str, ...], output: Path | None) -> None:
    """Write the manual page of a command, in the form that man shows.

    What '--help' prints and what these pages say is one text. Without a COMMAND the page is that of ds2prof itself.

    \b
    ds2prof man parse | man -l -
    ds2prof man bench deepmark | man -l -
    ds2prof man -o ~/.local/share/man/man1     then: man ds2prof-parse

    Exit codes: 0 done, 1 the folder cannot be written to, 2 there is no such command.
    """
    from ds2prof.cli import cli
    from ds2prof.cli.pages import manual, walked
    from ds2prof.cli.roff import roff

    pages = {ctx.command_path: manual(found, ctx) for ctx, found in walked(cli, "ds2prof")}
    if output is None:
        asked = " ".join(("ds2prof", *words))
        if asked not in pages:
            raise UsageError(f"man: no command {' '.join(words)!r}; 'ds2prof --help' lists them")
        click.echo(roff(pages[asked], version=__version__), nl=False)
        return
    if words:
        raise UsageError("man: -o writes the pages of all commands; drop the command, or -o")
    output.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        with written_whole(output / f"{name.replace(' ', '-')}.1") as partial:
            partial.write_text(roff(page, version=__version__), encoding="utf-8")
    click.echo(f"ds2prof: {len(pages)} pages in {output}", err=True)
