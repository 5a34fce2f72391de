"""The training loop: epochs of iterations, validation, checkpoints and resumption."""

import contextlib
import logging
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from ..files import SynthDistillError
from .checkpoint import load_checkpoint, save_checkpoint
from .networks import create_fabric, create_method
from .options import Options
from .processes import Exchange, launched
from .random_numbers import RandomNumbers
from .run_folder import RunFolder, describe_run
from .samples import draw_samples
from .step import Distillation, StepResult
from .stopping import Stop

logger = logging.getLogger(__name__)

SAMPLE_IMAGES = 8
"""Columns of ``samples.png``."""


@dataclass
class Progress:
    """How far a run is: ``iteration`` iterations of epoch ``epoch``, both counted from 0.

    Parameters
    ----------
    sums
        Sums over the epoch's iterations: the losses, then the mean cosines, of the fresh and the
        re-sampled batch; ``[4]``, float64. A loss that is not finite stays to be seen.
    rows
        The rows of ``log.csv``.
    """

    epoch: int = 0
    iteration: int = 0
    sums: torch.Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, fresh: StepResult, resampled: StepResult) -> None:
        """Count an iteration, without waiting for the device."""
        values = [fresh.loss, resampled.loss, fresh.similarity.mean(), resampled.similarity.mean()]
        self.sums += torch.stack(values).to(self.sums)
        self.iteration += 1

    def next_epoch(self) -> None:
        """Begin another epoch."""
        self.epoch, self.iteration = self.epoch + 1, 0
        self.sums.zero_()


class Run:
    """A training in its folder: the options, the method and how far it is."""

    def __init__(
        self, options: Options, folder: RunFolder, fabric: Fabric, method: Distillation
    ) -> None:
        self.options, self.folder, self.fabric, self.method = options, folder, fabric, method
        # Apple's devices have no float64
        device = torch.device("cpu") if fabric.device.type == "mps" else fabric.device
        self.progress = Progress(sums=torch.zeros(4, dtype=torch.float64, device=device))
        share = options.batch_size // fabric.world_size
        self.rows = range(fabric.global_rank * share, (fabric.global_rank + 1) * share)

    @property
    def step(self) -> int:
        """Iterations done since the run began."""
        return self.progress.epoch * self.options.iterations_per_epoch + self.progress.iteration

    def train(self, stop: Stop) -> None:
        """Do what is left, or what is done before somebody asks to stop."""
        options, progress, method = self.options, self.progress, self.method
        exchange = self.exchange = Exchange(self.fabric, self.step)
        exchange.check_same(self.step, "iterations saved")
        self.saved_at, self.sound = time.monotonic(), self.step
        with self.bar() as bar:
            for _ in range(progress.epoch, options.epochs):
                for _ in range(progress.iteration, options.iterations_per_epoch):
                    # Update the student on a fresh and on a re-sampled batch.
                    numbers = self.numbers("train", self.step)
                    numbers.seed_global(self.fabric.global_rank)
                    method.student.train()
                    progress.add(*method.iteration(numbers, self.rows))
                    bar.update(2 * options.batch_size)

                    # Save, stop or give up, together.
                    steps = options.checkpoint_steps
                    planned = steps is not None and self.step % steps == 0
                    if planned or exchange.due(self.step):
                        late = time.monotonic() - self.saved_at > 60 * options.checkpoint_minutes
                        save, code = self.agree(late, stop)
                        if save or planned or code:
                            self.save()
                        if code:
                            return
                        self.show(bar)

                # Validate.
                self.agree(False, stop)
                validation = self.validate(stop)
                if validation is None:
                    self.save()
                    return
                self.log(*validation)

                # Publish, then save: a run that is killed in between does it again.
                progress.next_epoch()
                if method.scheduler is not None:
                    with warnings.catch_warnings():
                        # said of a resumed run: its optimizer stepped in another process
                        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
                        method.scheduler.step()
                self.publish()
                self.save()
        if not self.folder.is_published(options.epochs):
            self.publish()

    def agree(self, save: bool, stop: Stop) -> tuple[bool, int]:
        """Exchange wishes with the other processes: whether to save, and with what code to stop."""
        bad = not bool(self.progress.sums.isfinite().all())
        agreed = self.exchange.agree(self.step, save=save, stop=stop.code or 0, bad=bad)
        if agreed.bad:
            first, last = self.sound + 1, self.step
            when = f"since iteration {first}" if first == last else f"after iteration {self.sound}"
            raise SynthDistillError(
                f"the loss is not finite {when} (epoch {self.progress.epoch + 1}). The last "
                f"checkpoint in {self.folder.path} is from before it. Lower the learning rate, or "
                "use --precision 32, in a new folder."
            )
        self.sound = self.step
        if agreed.stop:
            stop.code = agreed.stop
        return agreed.save, agreed.stop

    @torch.no_grad()
    def validate(self, stop: Stop) -> tuple[float, float] | None:
        """Compare student and teacher on fresh images that no other epoch sees.

        Returns
        -------
            Mean squared error and cosine, means over the validation images; NaN without any. None
            if it was asked to stop.
        """
        batches = self.options.validation_images // self.options.batch_size
        if not batches:
            return math.nan, math.nan
        self.method.student.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.progress.sums.device)
        for batch in range(batches):
            numbers = self.numbers(f"validation {self.progress.epoch + 1}", batch)
            errors, cosines = self.method.validate(numbers, self.rows)
            sums += torch.stack([errors.sum(), cosines.sum()]).to(sums)
            # on a CPU the paper's validation takes longer than a scheduler's patience
            if self.agree(False, stop)[1]:
                return None
        error, cosine = self.exchange.sum(sums) / (batches * self.options.batch_size)
        return error.item(), cosine.item()

    def log(self, validation_mse: float, validation_cosine: float) -> None:
        """Add the epoch's row to the log, and say it."""
        means = self.sums() / self.options.iterations_per_epoch
        epoch = self.progress.epoch + 1
        row = {
            "epoch": epoch,
            "images": 2 * self.step * self.options.batch_size,
            "learning_rate": self.method.optimizer.param_groups[0]["lr"],
            "loss_fresh": means[0].item(),
            "loss_resampled": means[1].item(),
            "cosine_fresh": means[2].item(),
            "cosine_resampled": means[3].item(),
            "validation_mse": validation_mse,
            "validation_cosine": validation_cosine,
        }
        self.progress.rows.append(row)
        known = []  # without validation neither is, a method without a teacher has no error
        if not math.isnan(validation_mse):
            known.append(f"mse {validation_mse:.5g}")
        if not math.isnan(validation_cosine):
            known.append(f"cosine {validation_cosine:.4f}")
        logger.info(
            "epoch %d of %d: loss %.5g fresh, %.5g re-sampled%s",
            epoch,
            self.options.epochs,
            row["loss_fresh"],
            row["loss_resampled"],
            f"; validation {', '.join(known)}" if known else "",
        )

    def save(self) -> None:
        """Write a checkpoint."""
        sums = self.sums()
        if self.fabric.is_global_zero:
            method = self.method
            self.folder.restore()
            save_checkpoint(
                self.folder.path,
                {
                    "epoch": self.progress.epoch,
                    "iteration": self.progress.iteration,
                    "iterations_per_epoch": self.options.iterations_per_epoch,
                    "sums": sums,
                    "rows": self.progress.rows,
                    "student": method.student.state_dict(),
                    "method": method.state_dict(),
                    "optimizer": method.optimizer.state_dict(),
                    "scheduler": method.scheduler and method.scheduler.state_dict(),
                    "precision": self.fabric.strategy.precision.state_dict(),
                },
            )
        self.saved_at = time.monotonic()

    def resume(self, state: dict[str, Any] | None) -> None:
        """Go on from a checkpoint's state, if there is one."""
        if state is None:
            return
        method, progress = self.method, self.progress
        try:
            if state["iterations_per_epoch"] != self.options.iterations_per_epoch:
                raise ValueError(f"its epochs have {state['iterations_per_epoch']} iterations")
            method.student.load_state_dict(state["student"])
            method.load_state_dict(state["method"])
            method.optimizer.load_state_dict(state["optimizer"])
            if method.scheduler is not None and state["scheduler"] is not None:
                method.scheduler.load_state_dict(state["scheduler"])
            self.fabric.strategy.precision.load_state_dict(state["precision"])
            progress.epoch, progress.iteration = state["epoch"], state["iteration"]
            # the mean over the processes, for each of them: their mean at the epoch's end is right
            progress.sums.copy_(state["sums"])
            progress.rows = state["rows"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise SynthDistillError(
                f"the checkpoint in {self.folder.path} is sound, but of another network, "
                f"optimizer or version of the package: {str(error).splitlines()[0]}. Go on with "
                "what began the run (options.json names it), or choose another folder with -o."
            ) from error
        logger.info("resumed after %d iterations", self.step)

    def publish(self) -> None:
        """Write what others use: the student, the log, the pictures, TensorBoard's events."""
        from ..recognition.student import save_student

        options, progress = self.options, self.progress
        self.method.student.eval()
        numbers = RandomNumbers(options.seed, "samples", 0, SAMPLE_IMAGES, self.fabric.device)
        fresh, resampled = self.method.samples(numbers, range(SAMPLE_IMAGES))
        if not self.fabric.is_global_zero:
            return
        save_student(
            self.folder.student,
            self.method.student.module,
            epoch=progress.epoch,
            images=2 * self.step * options.batch_size,
            seed=options.seed,
        )
        self.folder.write_log(progress.rows)
        draw_samples(self.folder.samples, *fresh, *resampled)
        if progress.rows:
            from torch.utils.tensorboard import SummaryWriter

            # a resumed run may repeat an epoch: purge_step hides what was written of it before
            with SummaryWriter(str(self.folder.events), purge_step=progress.epoch) as writer:
                for name, value in progress.rows[-1].items():
                    if name not in ("epoch", "images"):
                        writer.add_scalar(name, value, progress.epoch)

    def numbers(self, stream: str, iteration: int) -> RandomNumbers:
        """Give the random numbers of an iteration of a stream."""
        options = self.options
        return RandomNumbers(
            options.seed, stream, iteration, options.batch_size, self.fabric.device
        )

    def sums(self) -> torch.Tensor:
        """Give the mean of the processes' sums."""
        world = self.fabric.world_size
        if world == 1:
            return self.progress.sums.cpu().clone()
        return self.exchange.sum(self.progress.sums / world).cpu()

    def bar(self) -> Any:
        """Make the progress bar: images, images/s, time left; on a terminal only."""
        from tqdm import tqdm

        return tqdm(
            total=self.options.images,
            initial=2 * self.step * self.options.batch_size,
            unit="img",
            unit_scale=True,
            disable=None if self.fabric.is_global_zero else True,
            dynamic_ncols=True,
        )

    def show(self, bar: Any) -> None:
        """Show the epoch's mean loss and cosine on the bar."""
        if not bar.disable:
            loss, _, cosine, _ = (self.progress.sums / max(self.progress.iteration, 1)).tolist()
            bar.set_postfix(loss=f"{loss:.4g}", cosine=f"{cosine:.3f}", refresh=False)


def train(options: Options, output: Path, stop: Stop, configs: Sequence[str] = ()) -> Progress:
    """Train a student, or go on with the run that ``output`` holds.

    Parameters
    ----------
    options
        The run, with the paths of its files.
    output
        The run folder.
    stop
        Is looked at after every iteration.
    configs
        Which the options were read from, to be kept in the run folder.

    Returns
    -------
        How far the run is. What was saved is kept whatever happens.
    """
    fabric = create_fabric(options)
    folder = RunFolder(output)
    with contextlib.ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(folder.lock())
        stack.enter_context(launched(fabric))
        stack.enter_context(_explained(options, fabric))
        if fabric.is_global_zero:
            description = describe_run(options, fabric.device.type, configs)
            folder.check(description)
        fabric.barrier()
        state = load_checkpoint(folder.path)
        done = state is not None and state["epoch"] == options.epochs
        if state is not None and done and folder.is_published(options.epochs):
            return Progress(state["epoch"], state["iteration"])
        run = Run(options, folder, fabric, create_method(options, fabric))
        run.resume(state)
        if fabric.is_global_zero:
            # not earlier: a damaged file must not become a part of what the run is
            folder.begin(description, options, configs)
        run.train(stop)
        if not fabric.is_global_zero:
            stop.code = 0  # Fabric would take another code for a crash, and kill the first process
        return run.progress


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
