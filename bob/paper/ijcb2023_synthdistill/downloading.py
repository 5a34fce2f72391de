"""Download a file: checked, resumable, never half of it under its name."""

import errno
import hashlib
import http.client
import logging
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .files import SynthDistillError

logger = logging.getLogger(__name__)

CHUNK = 2**18
"""Bytes that are read at a time."""

RETRIED = {408, 425, 429, 500, 502, 503, 504}
"""HTTP states that may pass."""


def download(
    address: str,
    path: Path,
    checksum: str | None = None,
    *,
    attempts: int = 5,
    pause: float = 1.0,
    timeout: float = 30.0,
    sleep: Any = time.sleep,
) -> None:
    """Download a file; continue an earlier download of it, in this process or before.

    What has come is kept beside as ``NAME.part`` (with ``NAME.part.version``, which tells the
    server what it is a part of) and renamed only when it is whole.

    Parameters
    ----------
    address
        ``http://`` or ``https://``.
    path
        Where to put it. What is there is replaced.
    checksum
        ``ALGORITHM:HEXADECIMAL`` of the whole file, or None.
    attempts
        How often to try after faults of the connection or of the server, in a row without any
        progress.
    pause
        Seconds before the second attempt; doubled for each further one.
    timeout
        Seconds to wait for an answer.
    sleep
        Waits for a number of seconds.

    Raises
    ------
    SynthDistillError
        The address is wrong, the server refuses or cannot be reached, the disk is full, or the
        checksum is another one.
    """
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise SynthDistillError(f"expected an http or https address, got {address}")
    part = _Part(path)
    resumed = part.size > 0
    furthest = part.size
    failed = 0
    while True:
        try:
            _transfer(address, part, checksum is not None, timeout)
            break
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            _raise_if_final(error, address, path)
            failed = 1 if part.size > furthest else failed + 1
            furthest = max(furthest, part.size)
            if failed >= attempts:
                raise SynthDistillError(
                    f"cannot download {address}: {_explain(error)}, {attempts} times in a row. "
                    + (f"{part.size:,} bytes are kept in {part.path}. " if part.size else "")
                    + "Run the same command again to continue."
                ) from error
            resumed = part.size > 0
            logger.warning("%s: %s; trying again", address, _explain(error))
            sleep(pause * 2 ** (failed - 1))
    try:
        check_sum(part.path, checksum, shown=path)
    except SynthDistillError:
        part.remove()
        if not resumed:
            raise
        # perhaps the two parts are of different files: once more from the beginning
        logger.warning("%s is wrong after being continued: downloading all of it again", path)
        return download(
            address, path, checksum, attempts=attempts, pause=pause, timeout=timeout, sleep=sleep
        )
    part.finish(path)
    return None


class _Part:
    """A download that is not complete, and what the server calls the version it belongs to."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self._version = path.with_name(f"{path.name}.part.version")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SynthDistillError(
                f"cannot make the folder {path.parent}: {error.strerror}. Choose another with -o."
            ) from error

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str | None:
        return self._version.read_text(encoding="ascii") if self._version.exists() else None

    def restart(self, version: str | None) -> None:
        """Forget what is there; remember the version of what will come."""
        self.remove()
        if version is not None and version.isascii():
            self._version.write_text(version, encoding="ascii")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        with self.path.open("rb") as stream:
            os.fsync(stream.fileno())
        self.path.replace(path)
        self._version.unlink(missing_ok=True)


def _transfer(address: str, part: _Part, checked: bool, timeout: float) -> None:
    """Ask for the rest of the file and append it; return only when it is whole."""
    request = urllib.request.Request(address, headers={"User-Agent": "synthdistill-fetch"})  # noqa: S310
    offset = part.size
    if offset and (part.version or checked):
        request.add_header("Range", f"bytes={offset}-")
        if part.version:  # a strong validator, so that parts of different files are never joined
            request.add_header("If-Range", part.version)
    else:
        offset = 0
    try:
        response = urllib.request.urlopen(request, timeout=timeout)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != 416 or not offset:
            raise
        # nothing after the part: it is whole, or of a file that became shorter
        total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        error.close()
        if total == str(offset):
            return None
        part.remove()
        return _transfer(address, part, checked, timeout)
    with response:
        if response.headers.get_content_type() == "text/html":
            raise _WebPageError
        if offset and response.status == 206:
            start = (response.headers.get("Content-Range") or "").removeprefix("bytes ")
            if start.partition("-")[0] != str(offset):
                part.remove()
                raise http.client.HTTPException("the server continued at another place")
        else:
            etag = response.headers.get("ETag")
            strong = etag if etag and not etag.startswith("W/") else None
            part.restart(strong or response.headers.get("Last-Modified"))
            offset = 0
        length = response.headers.get("Content-Length")
        total_bytes = offset + int(length) if length and length.isdigit() else None
        with (
            part.path.open("ab") as stream,
            tqdm(
                total=total_bytes,
                initial=offset,
                unit="B",
                unit_scale=True,
                desc=part.path.stem,
                disable=None,  # quiet when not on a terminal
            ) as bar,
        ):
            while chunk := response.read(CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
    if total_bytes is not None and part.size < total_bytes:
        raise http.client.HTTPException(
            f"the connection ended after {part.size:,} of {total_bytes:,} bytes"
        )
    return None


class _WebPageError(OSError):
    """The server sent a page for people instead of the file."""


def _raise_if_final(error: Exception, address: str, path: Path) -> None:
    """Raise what trying again does not mend."""
    if isinstance(error, _WebPageError):
        raise SynthDistillError(
            f"{address} gave a web page instead of the file: it wants a log-in, or has moved. "
            "Download it with a browser, or give another --address."
        ) from error
    if isinstance(error, urllib.error.HTTPError) and error.code not in RETRIED:
        raise SynthDistillError(
            f"{address} answered {error.code} ({error.reason}): it has moved or is not for "
            "everybody. Download it with a browser, or give another --address."
        ) from error
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EISDIR):
        raise SynthDistillError(
            f"cannot write {path}.part: {os.strerror(number)}. What has come is kept: make room "
            "and run the same command again, or choose another folder with -o."
        ) from error


def _explain(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error) or type(error).__name__


def check_sum(path: Path, checksum: str | None, shown: Path | None = None) -> None:
    """Compare a file with its checksum, if that is known.

    Parameters
    ----------
    path
        The file.
    checksum
        ``ALGORITHM:HEXADECIMAL``, or None.
    shown
        Another name of the file for the message.

    Raises
    ------
    SynthDistillError
        They differ.
    """
    if checksum is None:
        return
    algorithm, _, expected = checksum.partition(":")
    with path.open("rb") as stream:
        found = hashlib.file_digest(
            stream, lambda: hashlib.new(algorithm, usedforsecurity=False)
        ).hexdigest()
    if found != expected:
        raise SynthDistillError(
            f"{shown or path} is damaged or another file: its {algorithm} is {found}, {expected} "
            "was expected. Download it again (--force replaces what is there)."
        )
