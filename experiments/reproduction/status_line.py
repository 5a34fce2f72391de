"""A line at the bottom of a terminal that says what goes on, and disappears."""

import shutil
import sys


class StatusLine:
    """One line on the standard error, written over again and again; none where no terminal is.

    Parameters
    ----------
    head
        What it begins with.
    """

    def __init__(self, head: str) -> None:
        self._head = head
        self._shown = ""

    def show(self, text: str) -> None:
        """Write the line, cut to the terminal's width."""
        if not sys.stderr.isatty():
            return
        line = (self._head + text)[: shutil.get_terminal_size().columns - 1]
        if line != self._shown:
            sys.stderr.write(f"\r\033[K{line}")
            sys.stderr.flush()
            self._shown = line

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self._shown = ""
