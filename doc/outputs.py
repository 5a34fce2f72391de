"""Run the commands whose output the pages show, and write what they print into doc/outputs."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OUTPUTS = Path(__file__).parent / "outputs"
KEY = "bob.paper.ijcb2023_synthdistill.toyfaces"
FACE = "toyfaces/aligned/lfw/lfw/ToyFaces_0001/ToyFaces_0001_{:04d}.jpg"
COMMANDS = {
    "draw": "synthdistill-toyfaces toyfaces --pairs-per-fold 60 --layout aligned --benchmark lfw",
    "configure": f"bob config set {KEY} toyfaces",
    "check": "synthdistill-fetch --check",
    "train": "synthdistill-train toyfaces -o results/short --epochs 2 --images-per-epoch 1024",
    "evaluate": "bob bio pipeline simple -d toyfaces-lfw -p results/short/pipeline.py"
    " -o results/short/toyfaces-lfw",
    "accuracy": "synthdistill-accuracy results/short/toyfaces-lfw/scores-dev.csv -d toyfaces-lfw",
    "table": "synthdistill-table results/short -d toyfaces-lfw",
    "export": "synthdistill-export results/short -o exported --calibration-faces 64",
    "verify": f"synthdistill-verify {FACE.format(1)} {FACE.format(6)} --aligned"
    " --model exported --fmr 1e-2",
    "mistyped": "synthdistill-train toyfaces -o results/x --sampling dinamic",
}
"""From names to commands, in the order in which they run, in one folder."""

PICTURES = ("samples.png", "training.png")
"""Pictures of the run folder that the pages show."""


def run(folder: Path) -> None:
    """Run all commands in a folder, and write what they print."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(folder / ".config"),
        "XDG_CACHE_HOME": str(folder / ".cache"),
        "PYTHONWARNINGS": "ignore",
    }
    for name, command in COMMANDS.items():
        done = subprocess.run(  # noqa: S603 - our own commands
            command.split(),
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode and name not in ("check", "mistyped"):
            raise SystemExit(f"{command}\n{done.stdout}")
        (OUTPUTS / f"{name}.txt").write_text(f"$ {command}\n{done.stdout}")
    for name in PICTURES:
        shutil.copy(folder / "results" / "short" / name, OUTPUTS)


if __name__ == "__main__":
    OUTPUTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        run(Path(temporary))
