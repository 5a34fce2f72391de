"""What a table needs: models, the trainings behind them, and where their scores go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bob.paper.ijcb2023_synthdistill.evaluation.records import SCORES

from bob.paper.ijcb2023_synthdistill.evaluation.results import Model
from bob.paper.ijcb2023_synthdistill.files import TEACHER, SynthDistillError, require_path

from .declarations import Declaration, DeclaredRow
from .runs import Run, Settings, State, runs_of


@dataclass(frozen=True)
class PlannedModel:
    """A model of a table: a student that a run trains, or a file that is there.

    Parameters
    ----------
    kind
        What the file is.
    folder
        Holds a folder for each benchmark.
    file
        The model; None for a teacher that is not configured on this machine.
    run
        Trains it; None when nothing is to be trained.
    optional
        Why it may fail.
    """

    kind: Literal["student", "teacher"]
    folder: Path
    file: Path | None
    run: Run | None = None
    optional: str = ""

    @property
    def ready(self) -> bool:
        """Say whether the model's file is there and current."""
        if self.run is not None:
            return self.run.state() is State.DONE
        return self.file is not None and self.file.is_file()

    def results(self, benchmarks: Sequence[str]) -> Model:
        """Give the model as tables know it, with a score file expected for each benchmark."""
        scores = {name: self.folder / name / SCORES for name in benchmarks}
        return Model(self.folder.name, self.folder, scores)


def plan_row(row: DeclaredRow, declaration: Declaration, settings: Settings) -> list[PlannedModel]:
    """Give the models of a row, one for each seed.

    Parameters
    ----------
    row
        The row.
    declaration
        Its table.
    settings
        Of the command line.
    """
    if row.student:
        return [
            PlannedModel("student", run.folder, run.student, run, row.optional)
            for run in runs_of(row, declaration, settings)
        ]
    if row.model == "teacher":
        file = _teacher(declaration.variant.name)
        return [PlannedModel("teacher", settings.results / "teacher", file, None, row.optional)]
    file = Path(row.model).expanduser()
    name = file.parent.name if file.name == "student.safetensors" else file.stem
    return [PlannedModel("student", settings.results / name, file, None, row.optional)]


def _teacher(variant: str) -> Path | None:
    if variant == "toyfaces":
        from bob.paper.ijcb2023_synthdistill import toyfaces

        return toyfaces.TEACHER
    try:
        return require_path(TEACHER, "teacher")
    except SynthDistillError:
        return None


def plan(declarations: Sequence[Declaration], settings: Settings) -> list[PlannedModel]:
    """List what several tables need, each model once, in order of first appearance.

    Parameters
    ----------
    declarations
        The tables.
    settings
        Of the command line.
    """
    models: dict[Path, PlannedModel] = {}
    for declaration in declarations:
        for row in declaration.rows:
            for model in plan_row(row, declaration, settings):
                models.setdefault(model.folder, model)
    return list(models.values())
