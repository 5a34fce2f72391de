"""A run that ended in seconds, and its export."""

import pytest


@pytest.fixture(scope="session")
def run(tmp_path_factory, micro_generator, small_teacher):
    """A run folder: a student with squeeze-and-excitation, of the micro generator's faces."""
    from bob.paper.ijcb2023_synthdistill.distillation.loop import train
    from bob.paper.ijcb2023_synthdistill.distillation.options import Options
    from bob.paper.ijcb2023_synthdistill.distillation.stopping import Stop

    folder = tmp_path_factory.mktemp("deployment") / "run"
    options = Options(
        student="test_efficientnet",
        initialisation="random",
        generator=micro_generator,
        teacher=small_teacher,
        epochs=1,
        images_per_epoch=16,
        batch_size=8,
        validation_images=8,
        device="cpu",
    )
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
