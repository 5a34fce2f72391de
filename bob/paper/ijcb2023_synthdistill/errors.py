"""The one exception that tells users what went wrong and what to do."""

import click


class SynthDistillError(click.ClickException):
    """A mistake or an accident that the user can mend: shown as words, never as a traceback.

    It is a :py:class:`click.ClickException`, so that our commands *and* Bob's (``bob bio pipeline
    simple`` loads our databases and pipelines) print the message and exit with status 1.

    Parameters
    ----------
    message
        What was expected, what was found, where, and what to do next.
    """
