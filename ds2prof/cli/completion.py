"""``ds2prof completion``: what makes a shell complete commands, options and their values."""

from __future__ import annotations

from typing import Final

import click

from ds2prof.cli.pages import Page
from ds2prof.errors import UsageError

SHELLS: Final = ("bash", "zsh", "fish")
_VARIABLE: Final = "_DS2PROF_COMPLETE"


@click.command("completion", cls=Page)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete ds2prof's commands, options, values and files.

    It completes what can follow: commands, options, the keys of '--by', formats, presets, profilers, and files
    where one is meant. The script asks ds2prof itself, so that it stays right when ds2prof changes.

    \b
    eval "$(ds2prof completion bash)"     bash, for this session; in ~/.bashrc, for all
    eval "$(ds2prof completion zsh)"      zsh, in ~/.zshrc behind compinit
    ds2prof completion fish > ~/.config/fish/completions/ds2prof.fish
    ds2prof completion bash > ~/.local/share/bash-completion/completions/ds2prof

    Exit codes: 0 done, 2 wrong usage.
    """
    click.echo(script(shell))


def script(shell: str) -> str:
    """The completion script of a shell, as click makes it.

    Raises:
        UsageError: click knows no such shell.
    """
    from click.shell_completion import ShellComplete, get_completion_class

    from ds2prof.cli import cli

    known = get_completion_class(shell)
    if known is None:
        raise UsageError(f"completion: no such shell: {shell}; one of {', '.join(SHELLS)}")
    made = known(cli, {}, "ds2prof", _VARIABLE)
    # Not made.source(): that of bash starts a bash to ask its version, of the wrong machine where the script is kept.
    return ShellComplete.source(made).strip("\n")
