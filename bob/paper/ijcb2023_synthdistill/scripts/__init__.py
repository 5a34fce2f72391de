"""The commands: thin, their heavy imports inside; here is what several of them declare alike."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)


def command(*examples: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command whose help ends with examples."""
    context = {"help_option_names": ["-h", "--help"], "show_default": True}
    epilog = "\n".join(["Examples:\n\n\b", *examples]) if examples else None
    return click.command(context_settings=context, epilog=epilog, **settings)


json_option = partial(click.option, "--json", "as_json", is_flag=True)
database_option = partial(click.option, "-d", "--database", metavar="DATABASE")
aligned_option = click.option(
    "--aligned", is_flag=True, help="The photographs are aligned faces of 112x112 pixels."
)
detector_option = click.option(
    "--detector", type=PATH, help="YuNet's file.  [default: as fetched or configured]"
)
network_option = click.option(
    "--network", metavar="PACKAGE.MODULE:NAME", help="What makes a student of your own."
)
