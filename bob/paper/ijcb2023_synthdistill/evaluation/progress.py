"""A bar on a terminal while images are embedded, in this process or by dask's workers."""

import contextlib
from typing import Any

import tqdm
from distributed import Client, get_worker

_TOPIC = "synthdistill-embedded"
_bar: tqdm.tqdm | None = None


def begin(images: int) -> None:
    """Show the bar, with the time that is left."""
    global _bar
    _bar = tqdm.tqdm(total=images, unit=" images", desc="embedding", disable=None)


def tell(images: int) -> None:
    """Count images that were just embedded, to whoever shows the bar."""
    if _bar is not None:
        _bar.update(images)
        return
    with contextlib.suppress(ValueError):  # no worker: nobody wants to know
        get_worker().log_event(_TOPIC, images)


def listen(client: Client) -> None:
    """Let the bar count what workers embed."""
    if _bar is not None and not _bar.disable:
        client.subscribe_topic(_TOPIC, _hear)


def _hear(event: tuple[float, Any]) -> None:
    if _bar is not None:
        _bar.update(event[1])


def end() -> None:
    """Take the bar away, or leave it full."""
    global _bar
    if _bar is not None:
        _bar.close()
        _bar = None
