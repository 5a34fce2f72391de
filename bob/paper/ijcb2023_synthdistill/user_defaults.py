"""Where the user keeps weights and data sets: the keys that ``bob config set KEY PATH`` writes.

The file is Bob's own (``bobrc.toml`` in ``$XDG_CONFIG_HOME``, by default ``~/.config``), read by
clapper as Bob reads it, without importing Bob. It is read at each call, never at import.
"""

from pathlib import Path

from clapper.rc import UserDefaults

from .errors import SynthDistillError
from .files import atomic_write

FILE_NAME = "bobrc.toml"
"""Name of Bob's configuration file, since Bob 12 (see ``bob.cli``)."""

GENERATOR = "bob.paper.ijcb2023_synthdistill.generator"
"""Key of the generator: NVIDIA's ``stylegan2-ffhq-256x256.pkl`` or our safetensors."""

TEACHER = "bob.paper.ijcb2023_synthdistill.teacher"
"""Key of the teacher: ``iresnet100-73e07ba7.pth``, the archive that holds it or our safetensors."""

STUDENT = "bob.paper.ijcb2023_synthdistill.student"
"""Key of the student that the pipeline ``synthdistill-student`` evaluates."""


def _defaults() -> UserDefaults:
    """Read Bob's configuration file.

    Raises
    ------
    SynthDistillError
        The file is not TOML or cannot be read.
    """
    try:
        return UserDefaults(FILE_NAME)
    except (ValueError, TypeError, OSError) as error:
        raise SynthDistillError(
            f"cannot read Bob's configuration file {FILE_NAME} (in $XDG_CONFIG_HOME or ~/.config): "
            f"{error}. Correct it in an editor, or move it away and set the keys again with "
            "`bob config set KEY PATH`."
        ) from error


def configured_path(key: str) -> Path | None:
    """Look up a path that ``bob config set KEY PATH`` wrote.

    Parameters
    ----------
    key
        The key, such as :py:data:`TEACHER`.

    Returns
    -------
        The path (``~`` expanded, existing or not), or ``None`` when the key is not set.

    Raises
    ------
    SynthDistillError
        The configuration file cannot be read, or the key holds something other than a path.
    """
    defaults = _defaults()
    try:
        value = defaults[key]
    except KeyError:
        return None
    if not isinstance(value, str) or not value:
        raise SynthDistillError(
            f"expected a path under {key} in {defaults.path}, found {value!r}. Set it with "
            f"`bob config set {key} PATH`."
        )
    return Path(value).expanduser()


def require_path(key: str, what: str) -> Path:
    """Look up a path that must be set and exist.

    Parameters
    ----------
    key
        The key, such as :py:data:`TEACHER`.
    what
        What the path leads to, for the message, such as "the teacher".

    Raises
    ------
    SynthDistillError
        The key is not set, or its path does not exist; the message has the command to type.
    """
    path = configured_path(key)
    if path is None:
        raise SynthDistillError(
            f"it is not known where {what} is: {key} is not set. Tell with "
            f"`bob config set {key} PATH`; `synthdistill-fetch --check` shows all that is missing."
        )
    if not path.exists():
        hint = "" if path.is_absolute() else f", seen from {Path.cwd()}: better give the whole path"
        raise SynthDistillError(
            f"expected {what} at {path}, where {key} points, but there is nothing{hint}. Put it "
            f"there, or tell where it is with `bob config set {key} PATH`."
        )
    return path


def configure_path(key: str, path: Path) -> Path:
    """Write a path as ``bob config set KEY PATH`` does, leaving the other keys as they are.

    Parameters
    ----------
    key
        The key, such as :py:data:`TEACHER`.
    path
        Any path; written as an absolute one.

    Returns
    -------
        The configuration file.

    Raises
    ------
    SynthDistillError
        The configuration file cannot be read or written, or has a value where the key needs a
        section.
    """
    defaults = _defaults()
    try:
        defaults[key] = str(path.expanduser().absolute())
    except KeyError as error:
        raise SynthDistillError(
            f"cannot set {key} in {defaults.path}: {error.args[0]}. Correct the file in an editor."
        ) from error
    # clapper's own write() moves the file away first and expects the folder to exist
    with atomic_write(defaults.path) as temporary:
        temporary.write_text(str(defaults), encoding="utf-8")
    return defaults.path
