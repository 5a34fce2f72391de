"""The training loop: epochs of iterations, validation, checkpoints and resumption."""

import contextlib
import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from ..files import SynthDistillError
from .checkpoint import load_checkpoint, save_checkpoint
from .networks import create_fabric, create_method, describe_run
from .options import Options
from .processes import Agreement, launched
from .random_numbers import RandomNumbers
from .run_folder import RunFolder
from .samples import draw_samples
from .step import Distillation, StepResult
from .stopping import Stop

logger = logging.getLogger(__name__)

SAMPLE_IMAGES = 8
"""Columns of ``samples.png``."""

NEVER = 2**53
"""The iteration with a bad loss, where there is none (float64 holds it)."""

LOOK_EVERY = 50
"""Iterations after which a GPU's losses are fetched: to show them, and to find NaN."""


@dataclass
class Progress:
    """How far a run is, and what it has seen since its epoch began.

    Parameters
    ----------
    iteration
        Iterations done since the run began.
    sums
        Sums over the epoch's iterations: the losses, then the mean cosines, of the fresh and the
        re-sampled batch; ``[4]``, float64.
    rows
        The rows of ``log.csv``.
    """

    iteration: int = 0
    sums: torch.Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best(self) -> dict[str, Any] | None:
        """The epoch with the smallest validation error so far."""
        rows = [row for row in self.rows if not math.isnan(row["validation_mse"])]
        return min(rows, key=lambda row: row["validation_mse"], default=None)

    def finished(self, options: Options) -> bool:
        """Say whether nothing is left to do, the last epoch's validation included."""
        return self.iteration == options.iterations and len(self.rows) == options.epochs


def train(options: Options, output: Path, stop: Stop) -> Progress:
    """Train a student, or go on with the run that ``output`` holds.

    Parameters
    ----------
    options
        The run, with the paths of its files.
    output
        The run folder.
    stop
        Is looked at after every iteration.

    Returns
    -------
        How far the run is.

    Raises
    ------
    SynthDistillError
        For anything that the user can mend. What was saved is kept.
    """
    fabric = create_fabric(options)
    folder = RunFolder(output)
    with contextlib.ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(folder.lock())
        stack.enter_context(launched(fabric))
        stack.enter_context(_explained(options, fabric))
        if fabric.is_global_zero:
            folder.check(description := describe_run(options))
        fabric.barrier()
        finished = _finished(options, folder)
        if finished is not None:
            return finished
        run = Run(options, folder, fabric, create_method(options, fabric))
        if fabric.is_global_zero:
            # not earlier: a damaged file must not become a part of what the run is
            folder.begin(description)
        run.resume()
        run.train(stop)
        if not fabric.is_global_zero:
            stop.code = 0  # Fabric would take another code for a crash, and kill the first process
        return run.progress


def _describe_validation(error: float, cosine: float) -> str:
    """Say what is known: no validation gives neither, a method without a teacher no error."""
    known = []
    if not math.isnan(error):
        known.append(f"mse {error:.5g}")
    if not math.isnan(cosine):
        known.append(f"cosine {cosine:.4f}")
    return f"; validation {', '.join(known)}" if known else ""


class Run:
    """A training and its folder.

    Parameters
    ----------
    options
        The run's options.
    folder
        Where it is kept.
    fabric
        Device and processes.
    method
        Does the iterations.
    """

    def __init__(
        self, options: Options, folder: RunFolder, fabric: Fabric, method: Distillation
    ) -> None:
        self.options = options
        self.folder = folder
        self.fabric = fabric
        self.method = method
        self.progress = Progress()
        self.saved_at = time.monotonic()
        self.agreement = Agreement(fabric)
        self.sums = torch.zeros(4, dtype=torch.float64, device=_float64_device(fabric.device))
        self.first_bad = torch.full((), NEVER, device=fabric.device)
        share = options.batch_size // fabric.world_size
        self.rows = range(fabric.global_rank * share, (fabric.global_rank + 1) * share)

    def train(self, stop: Stop) -> None:
        """Do the iterations and validations that are left."""
        options, progress, method = self.options, self.progress, self.method
        if options.epochs == 0:
            self.publish()
        with self._bar() as advance:
            while not progress.finished(options):
                if progress.iteration // options.iterations_per_epoch > len(progress.rows):
                    if not self.end_epoch(stop):
                        self.save()
                        return
                    self.publish()
                    self.save()
                    continue
                draws = self._draws("train", progress.iteration)
                draws.seed_global(self.fabric.global_rank)
                method.student.train()
                self._note(*method.iteration(draws, self.rows))
                progress.iteration += 1
                advance(2 * options.batch_size)
                late = time.monotonic() - self.saved_at > 60 * options.checkpoint_minutes
                late, code = self.agreement.decide(progress.iteration, late, stop.code or 0)
                steps = options.checkpoint_steps
                if late or code or (steps is not None and progress.iteration % steps == 0):
                    self.save()
                if code:
                    stop.code = code
                    return
        best = progress.best
        if best is not None:
            logger.info(
                "smallest validation error: %.5g, after epoch %d of %d",
                best["validation_mse"],
                best["epoch"],
                options.epochs,
            )

    def end_epoch(self, stop: Stop) -> bool:
        """Validate, step the schedule, and add the epoch's row to the log.

        Returns
        -------
            False if it was asked to stop before that was done.
        """
        options, progress = self.options, self.progress
        self._check_finite()
        means = self._gather_sums() / options.iterations_per_epoch
        epoch = progress.iteration // options.iterations_per_epoch
        validated = self.validate(epoch, stop)
        if validated is None:
            return False
        error, cosine = validated
        row = {
            "epoch": epoch,
            "images": 2 * progress.iteration * options.batch_size,
            "learning_rate": self.method.optimizer.param_groups[0]["lr"],
            "loss_fresh": means[0].item(),
            "loss_resampled": means[1].item(),
            "cosine_fresh": means[2].item(),
            "cosine_resampled": means[3].item(),
            "validation_mse": error,
            "validation_cosine": cosine,
        }
        progress.rows.append(row)
        self.sums.zero_()
        if self.method.scheduler is not None:
            with warnings.catch_warnings():
                # said of a run resumed at an epoch's end: its optimizer stepped in another process
                warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
                self.method.scheduler.step()
        logger.info(
            "epoch %d of %d: loss %.5g fresh, %.5g re-sampled%s",
            epoch,
            options.epochs,
            row["loss_fresh"],
            row["loss_resampled"],
            _describe_validation(error, cosine),
        )
        return True

    @torch.no_grad()
    def validate(self, epoch: int, stop: Stop) -> tuple[float, float] | None:
        """Compare student and teacher on fresh images that no other epoch sees.

        Returns
        -------
            Mean squared error and cosine, means over the validation images; NaN without any. None
            if it was asked to stop.
        """
        size = self.options.batch_size
        batches = self.options.validation_images // size
        if not batches:
            return math.nan, math.nan
        self.method.student.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.sums.device)
        for batch in range(batches):
            draws = self._draws(f"validation {epoch}", batch)
            errors, cosines = self.method.validate(draws, self.rows)
            sums += torch.stack([errors.sum(), cosines.sum()]).to(sums)
            # on a CPU the paper's validation takes longer than a scheduler's patience
            if code := self.agreement.largest(stop.code or 0):
                stop.code = code
                return None
        means = self._reduce(sums) / (batches * size)
        return means[0].item(), means[1].item()

    def save(self) -> None:
        """Write a checkpoint, unless a loss was not finite, on whichever device."""
        self.first_bad.fill_(self.agreement.smallest(int(self.first_bad)))
        self._check_finite()
        sums = self._gather_sums()
        if self.fabric.is_global_zero:
            if self.folder.restore():
                self.folder.begin(describe_run(self.options))
            save_checkpoint(
                self.folder.path,
                {
                    "iteration": self.progress.iteration,
                    "iterations_per_epoch": self.options.iterations_per_epoch,
                    "sums": sums,
                    "rows": self.progress.rows,
                    "student": self.method.student.state_dict(),
                    "method": self.method.state_dict(),
                    "optimizer": self.method.optimizer.state_dict(),
                    "scheduler": self.method.scheduler.state_dict()
                    if self.method.scheduler is not None
                    else None,
                    "precision": self.fabric.strategy.precision.state_dict(),
                },
            )
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Go on from the newest sound checkpoint, if there is one."""
        state = load_checkpoint(self.folder.path)
        self.agreement.check_same(0 if state is None else state["iteration"], "iterations saved")
        if state is None:
            return
        try:
            self._restore(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise SynthDistillError(
                f"the checkpoint in {self.folder.path} is sound, but of another network, "
                f"optimizer or version of the package: {str(error).splitlines()[0]}. Go on with "
                "what began the run (options.json names it), or choose another folder with -o."
            ) from error
        logger.info("resumed after %d iterations", self.progress.iteration)
        if self.progress.iteration == len(self.progress.rows) * self.options.iterations_per_epoch:
            # what was written at the end of an epoch comes back, should it have been lost
            self.publish()

    def _restore(self, state: dict[str, Any]) -> None:
        """Take everything that :py:meth:`save` wrote."""
        method = self.method
        method.student.load_state_dict(state["student"])
        method.load_state_dict(state["method"])
        method.optimizer.load_state_dict(state["optimizer"])
        if method.scheduler is not None and state["scheduler"] is not None:
            method.scheduler.load_state_dict(state["scheduler"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if state["iterations_per_epoch"] != self.options.iterations_per_epoch:
            raise ValueError(f"its epochs have {state['iterations_per_epoch']} iterations")
        self.progress.iteration = state["iteration"]
        self.progress.rows = state["rows"]
        if self.fabric.is_global_zero:
            self.sums.copy_(state["sums"])

    def publish(self) -> None:
        """Write what others use: the student, the log, the pictures, TensorBoard's events."""
        from ..recognition.student import save_student

        self.method.student.eval()
        draws = RandomNumbers(self.options.seed, "samples", 0, SAMPLE_IMAGES, self.fabric.device)
        fresh, resampled = self.method.samples(draws, range(SAMPLE_IMAGES))
        if not self.fabric.is_global_zero:
            return
        student = self.method.student.module
        save_student(
            self.folder.student,
            student,
            epoch=len(self.progress.rows),
            images=2 * self.progress.iteration * self.options.batch_size,
            seed=self.options.seed,
        )
        self.folder.write_log(self.progress.rows)
        draw_samples(self.folder.samples, *fresh, *resampled)
        self._write_events()

    def _write_events(self) -> None:
        """Write TensorBoard's events for the epochs that its folder does not have yet."""
        from torch.utils.tensorboard import SummaryWriter

        marker = len(self.progress.rows)
        if not marker:
            return
        # a resumed run may repeat an epoch: purge_step hides what the former process wrote of it
        with SummaryWriter(str(self.folder.events), purge_step=marker) as writer:
            for name, value in self.progress.rows[-1].items():
                if name not in ("epoch", "images"):
                    writer.add_scalar(name, value, marker)

    def _draws(self, stream: str, iteration: int) -> RandomNumbers:
        return RandomNumbers(
            self.options.seed, stream, iteration, self.options.batch_size, self.fabric.device
        )

    def _note(self, fresh: StepResult, resampled: StepResult) -> None:
        """Add an iteration's results to the sums, without waiting for the device."""
        values = [fresh.loss, resampled.loss, fresh.similarity.mean(), resampled.similarity.mean()]
        self.sums += torch.stack(values).to(self.sums)
        bad = ~(torch.isfinite(fresh.loss) & torch.isfinite(resampled.loss))
        now = torch.full_like(self.first_bad, self.progress.iteration)
        self.first_bad = torch.minimum(self.first_bad, torch.where(bad, now, self.first_bad))
        iteration = self.progress.iteration + 1
        if self.fabric.device.type == "cpu" or iteration % LOOK_EVERY == 0:
            self._check_finite()

    def _check_finite(self) -> None:
        first = int(self.first_bad)
        if first == NEVER:
            return
        raise SynthDistillError(
            f"the loss is not finite since iteration {first + 1} "
            f"(epoch {first // self.options.iterations_per_epoch + 1}). The last checkpoint in "
            f"{self.folder.path} is from before it. Lower the learning rate, or use "
            "--precision 32, in a new folder."
        )

    def _gather_sums(self) -> torch.Tensor:
        """Give the epoch's sums over all processes, each batch's mean counted once."""
        if self.fabric.world_size == 1:
            return self.sums.cpu().clone()
        return self._reduce(self.sums / self.fabric.world_size).cpu()

    def _reduce(self, sums: torch.Tensor) -> torch.Tensor:
        """Add up a tensor over all processes."""
        total = self.fabric.all_reduce(sums, reduce_op="sum")
        return torch.as_tensor(total)

    @contextlib.contextmanager
    def _bar(self) -> Iterator[Callable[[int], Any]]:
        """Show images, images/s, time left and loss on a terminal; nothing elsewhere."""
        from tqdm import tqdm

        batch = 2 * self.options.batch_size
        with tqdm(
            total=self.options.images,
            initial=self.progress.iteration * batch,
            unit="img",
            unit_scale=True,
            disable=None if self.fabric.is_global_zero else True,
            dynamic_ncols=True,
            file=sys.stderr,
        ) as bar:

            def advance(images: int) -> None:
                if not bar.disable and self.progress.iteration % LOOK_EVERY == 1:
                    done = (self.progress.iteration - 1) % self.options.iterations_per_epoch + 1
                    loss, _, cosine, _ = (self.sums / done).tolist()
                    bar.set_postfix(loss=f"{loss:.4g}", cosine=f"{cosine:.3f}")
                bar.update(images)

            yield advance


def _float64_device(device: torch.device) -> torch.device:
    """Give the device for float64 sums: the same, but for Apple's, which has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def _finished(options: Options, folder: RunFolder) -> Progress | None:
    """Give the progress of a run that is finished, with all that it leaves; else None."""
    state = load_checkpoint(folder.path)
    left = (folder.student, folder.log, folder.samples)
    if state is None or not all(path.exists() for path in left):
        return None
    try:
        progress = Progress(state["iteration"], state["sums"], state["rows"])
        return progress if progress.finished(options) else None
    except (KeyError, TypeError):
        return None  # resuming explains it


@contextlib.contextmanager
def _explained(options: Options, fabric: Fabric) -> Iterator[None]:
    """Turn running out of memory into words."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(
            words in str(error) for words in ("not enough memory", "can't allocate memory")
        ):
            raise
        size = options.micro_batch_size or options.batch_size // fabric.world_size
        raise SynthDistillError(
            f"out of memory with {size} images at a time (batch {options.batch_size}): lower "
            f"--micro-batch-size (to {max(1, size // 2)}, say: the same updates in smaller "
            "pieces) or --batch-size. What was saved is kept; the same command goes on from it."
        ) from error
