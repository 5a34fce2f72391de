"""Trainings and evaluations that only leave what real ones leave."""

from pathlib import Path

from bob.paper.ijcb2023_synthdistill.evaluation.records import SCORES, describe, write_record
from reproduction.runs import Run
from score_files import FakeBenchmark, write_scores

from bob.paper.ijcb2023_synthdistill.distillation.networks import describe_run, find_files
from bob.paper.ijcb2023_synthdistill.distillation.run_folder import RunFolder
from bob.paper.ijcb2023_synthdistill.evaluation.network import NetworkRecipe
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


class Benchmark(FakeBenchmark):
    """A benchmark of 200 pairs; some may be absent."""

    absent: tuple[str, ...] = ()

    def fingerprint(self):
        if self.name in self.absent:
            raise SynthDistillError(f"no folder is configured for {self.name}")
        return f"pairs of {self.name}"


def run_of(words):
    """Read a training's process back: python -m MODULE CONFIG... --output FOLDER --seed SEED ..."""
    place = words.index("--output")
    options = dict(zip(words[place::2], words[place + 1 :: 2], strict=True))
    overrides = (("epochs", int(options["--epochs"])),) if "--epochs" in options else ()
    folder = Path(options["--output"])
    return Run(tuple(words[3:place]), int(options["--seed"]), folder, overrides)


def pretend_training(run):
    """Leave options, log and student."""
    folder = RunFolder(run.folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.begin(describe_run(find_files(run.options)))
    epochs = range(1, run.options.epochs + 1)
    folder.write_log([{"epoch": n, "images": 8 * n, "loss_fresh": 1 / n} for n in epochs])
    folder.student.write_text(f"weights {run.name} {run.options.batch_size}")
    folder.samples.write_bytes(b"faces")


def pretend_side_by_side(run_command, asked, jobs, at_a_time, *, begun, ended, said, waiting):
    """Run trainings one after the other as if side by side; keep what was asked for."""
    asked.update(at_a_time=at_a_time, logs=[job.log for job in jobs])
    left = []
    for job in jobs:
        begun(job)
        said(job, "its words")
        waiting([job])
        status = run_command(job.words)
        ended(job, status, 1.0)
        left += [job] if status == 130 else []
    return left


def pretend_evaluation(models, databases, output):
    """Leave scores with their record; give the names of what was evaluated."""
    done = []
    for name, spec in models.items():
        for database in databases:
            seed = len(name) + (2022 if "2022" in name else 0)
            write_scores(output / name / database / SCORES, database, seed=seed)
            recipe = NetworkRecipe(spec.kind, spec.path)
            description = describe(recipe, database, Benchmark(database), mirror=True)
            write_record(output / name / database, description, 0.1)
            done.append((name, database))
    return done
