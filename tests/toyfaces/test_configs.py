"""The configs of ToyFaces need nothing: no file, no network, no setting of the user's."""

import socket
from importlib.metadata import entry_points

import pytest
from click.testing import CliRunner

from bob.paper.ijcb2023_synthdistill.scripts.train import train

CONFIGS = [e.name for e in entry_points(group="synthdistill.config") if "toyfaces" in e.name]
SMALL = ["--epochs=1", "--images-per-epoch=16", "--batch-size=8", "--validation-images=8"]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_of_toyfaces_needs_nothing(config, tmp_path, monkeypatch):
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    wanted = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, place: wanted.append(place))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *place, **_: wanted.append(place))
    result = CliRunner().invoke(
        train, [config, *SMALL, "--device=cpu", "-o", str(tmp_path / "run")]
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "student.safetensors").exists()
    assert not wanted
    assert len(CONFIGS) == 5
