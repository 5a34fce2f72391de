"""A run that ended in seconds, and its export."""

from dataclasses import replace

import pytest


@pytest.fixture(scope="session")
def run(tmp_path_factory, tiny_run):
    """A run folder: a student with squeeze-and-excitation, of the micro generator's faces."""
    from bob.paper.ijcb2023_synthdistill.distillation.loop import train
    from bob.paper.ijcb2023_synthdistill.distillation.stopping import Stop

    folder = tmp_path_factory.mktemp("deployment") / "run"
    options = replace(tiny_run, epochs=1, images_per_epoch=16, batch_size=8)
    train(options, folder, Stop())
    return folder


@pytest.fixture(scope="session")
def exported(run):
    """The run's export folder."""
    from bob.paper.ijcb2023_synthdistill.deployment import quantisation
    from bob.paper.ijcb2023_synthdistill.deployment.folder import Source, export

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantisation, "PROBES", 8)
        export(Source.find(run), run.parent / "exported", calibration_faces=4)
    return run.parent / "exported"
