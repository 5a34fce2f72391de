"""A command, as if it were typed."""

from click.testing import CliRunner


def invoke(command, *arguments, code=0):
    """Run a command, which must end with this code and without a traceback."""
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert not code or isinstance(result.exception, SystemExit)
    return result
