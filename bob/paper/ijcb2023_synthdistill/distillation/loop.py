"""The training loop: epochs of iterations, validation, checkpoints and resumption."""

import contextlib
import logging
import math
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from ..files import SynthDistillError
from .checkpoint import load_checkpoint, save_checkpoint
from .networks import create_fabric, create_method, rows_of
from .options import Options, find_files
from .processes import Exchange, launched
from .random_numbers import RandomNumbers
from .run_folder import RunFolder, describe_run
from .step import Distillation, StepResult
from .stopping import Stop

logger = logging.getLogger(__name__)

TELL_SECONDS = 60.0
"""How often a line says how far a training is, where no terminal shows the bar."""

IDENTITY_IMAGES = 128
"""At least so many, or a batch, are re-sampled to see what that does to identities."""

SAMPLE_IMAGES = 8
"""Columns of ``samples.png``."""


def train(
    options: Options,
    output: Path,
    stop: Stop,
    configs: Sequence[str] = (),
    restart: bool = False,
) -> bool:
    """Train a student, or go on with the run that ``output`` holds.

    Parameters
    ----------
    output
        The run folder.
    stop
        Is looked at after every iteration.
    configs
        Which the options were read from, to be kept in the run folder.
    restart
        Set what the folder holds of an earlier run aside, and begin anew.

    Returns
    -------
        Whether it is finished. What was saved is kept whatever happens.
    """
    options = find_files(options)
    fabric, folder = create_fabric(options), RunFolder(output)
    with contextlib.ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(folder.lock())
            if restart:
                folder.set_aside()
        stack.enter_context(launched(fabric))
        stack.enter_context(_explained(options, fabric))
        if fabric.is_global_zero:
            description = describe_run(options, fabric.device.type, configs)
            folder.check(description)
        fabric.barrier()
        state = load_checkpoint(folder.path)
        if state is not None and state["epoch"] == options.epochs and folder.is_published(options):
            logger.info("already finished: %s", folder.student)
            return True
        run = Run(options, folder, fabric, create_method(options, fabric))
        run.resume(state)
        if fabric.is_global_zero:
            # not earlier: a damaged file must not become a part of what the run is
            folder.begin(description | run.identity_kept(), options, configs)
        run.train(stop)
        finished = run.epoch == options.epochs
        if finished:
            logger.info("finished: %s", folder.student)
        else:
            done = f"{run.step} of {options.iterations} iterations"
            logger.info("stopped after %s, saved: the same command goes on", done)
        if not fabric.is_global_zero:
            stop.code = 0  # Fabric would take another code for a crash, and kill the first process
        return finished


class Run:
    """A training and how far it is: ``iteration`` iterations of epoch ``epoch``, both from 0."""

    def __init__(
        self, options: Options, folder: RunFolder, fabric: Fabric, method: Distillation
    ) -> None:
        self.options, self.folder, self.fabric, self.method = options, folder, fabric, method
        self.epoch = self.iteration = 0
        # of the epoch's losses, then mean cosines, of the fresh and the re-sampled batch; a loss
        # that is not finite stays to be seen. Apple's devices have no float64
        device = "cpu" if fabric.device.type == "mps" else fabric.device
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)
        self.log: list[dict[str, Any]] = []
        self.rows = rows_of(options, fabric)

    @property
    def step(self) -> int:
        """Iterations done since the run began."""
        return self.epoch * self.options.iterations_per_epoch + self.iteration

    def train(self, stop: Stop) -> None:
        """Do what is left, or what is done before somebody asks to stop."""
        options, method = self.options, self.method
        by_iteration = options.scheduler == "cosine"
        self.exchange = Exchange(self.fabric, self.step)
        self.saved_at = self.told_at = time.monotonic()
        self.sound = self.step
        with self.bar() as bar, warnings.catch_warnings():
            # said of a resumed run: its optimizer stepped in another process
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            for _ in range(self.epoch, options.epochs):
                for _ in range(self.iteration, options.iterations_per_epoch):
                    # Update the student on a fresh and on a re-sampled batch.
                    numbers = self.numbers("train", self.step)
                    numbers.seed_global(self.fabric.global_rank)
                    method.student.train()
                    fresh, resampled = method.iteration(numbers, self.rows)
                    self.add(fresh, resampled)
                    if method.scheduler is not None and by_iteration:
                        method.scheduler.step()
                    bar.update(2 * options.batch_size)

                    # Save, stop or give up, together.
                    steps = options.checkpoint_steps
                    planned = steps is not None and self.step % steps == 0
                    if planned or self.exchange.due(self.step):
                        late = time.monotonic() - self.saved_at > 60 * options.checkpoint_minutes
                        save, code = self.agree(late, stop)
                        if save or planned or code:
                            self.save()
                        if code:
                            return
                        loss, _, cosine, _ = (self.sums / self.iteration).tolist()
                        bar.set_postfix(loss=f"{loss:.4g}", cosine=f"{cosine:.3f}", refresh=False)
                        self.tell(bar)

                # Validate.
                self.agree(False, stop)
                validation = self.validate(stop)
                if validation is None:
                    self.save()
                    return
                self.add_row(*validation)

                # Publish, then save: a run that is killed in between does it again.
                self.epoch, self.iteration = self.epoch + 1, 0
                self.sums.zero_()
                if method.scheduler is not None and not by_iteration:
                    method.scheduler.step()
                self.publish()
                if options.keep_epochs and self.fabric.is_global_zero:
                    self.folder.keep(self.epoch)
                self.save()
        if not self.folder.is_published(options):
            self.publish()

    def identity_kept(self) -> dict[str, float]:
        """Tell what re-sampling does to an identity, and say it."""
        options = self.options
        # a strategy of the user's own may remember what it is asked
        own = options.method != "distillation" or not isinstance(options.sampling, str)
        if own or options.epochs == 0:
            return {}
        batches = max(1, IDENTITY_IMAGES // len(self.rows))
        cosines = [
            self.method.identity_kept(self.numbers("identity", batch), self.rows).mean()
            for batch in range(batches)
        ]
        kept = torch.stack(cosines).mean().item()
        logger.info("the teacher's cosine between a face and its re-sampled one: %.2f", kept)
        return {"identity_kept": kept}

    def add(self, fresh: StepResult, resampled: StepResult) -> None:
        """Add an iteration to the sums, without waiting for the device."""
        results = (fresh, resampled)
        values = [result.loss for result in results]
        values += [result.similarity.mean() for result in results]
        found = torch.stack(values).to(self.sums)
        if self.scaler is not None:
            # the scaler skips an update whose loss is infinite, and so does the mean
            found = found.where(found.isfinite(), self.sums / max(self.iteration, 1))
        self.sums += found
        self.iteration += 1

    def agree(self, save: bool, stop: Stop) -> tuple[bool, int]:
        """Exchange wishes with the other processes: whether to save, and with what code to stop."""
        bad = not bool(self.sums.isfinite().all())
        if self.scaler is not None:
            bad |= self.scaler.get_scale() < 1  # from 65,536, halved at each infinite loss
        save, code, bad = self.exchange.agree(self.step, save, stop.code or 0, bad)
        if bad:
            raise SynthDistillError(
                f"the loss is not finite after iteration {self.sound} (epoch {self.epoch + 1}). "
                f"The last checkpoint in {self.folder.path} is from before it. Lower the learning "
                "rate, or use --precision 32 without --autocast, in a new folder."
            )
        self.sound = self.step
        if code:
            stop.code = code
        return save, code

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
        sums = torch.zeros(2, dtype=torch.float64, device=self.sums.device)
        for batch in range(batches):
            numbers = self.numbers(f"validation {self.epoch + 1}", batch)
            errors, cosines = self.method.validate(numbers, self.rows)
            sums += torch.stack([errors.sum(), cosines.sum()]).to(sums)
            # on a CPU the paper's validation takes longer than a scheduler's patience
            if self.agree(False, stop)[1]:
                return None
        error, cosine = self.over_processes(sums) / (batches * self.options.batch_size)
        return error.item(), cosine.item()

    def add_row(self, validation_mse: float, validation_cosine: float) -> None:
        """Add the epoch to the log, and say it."""
        means = (self.mean_sums() / self.options.iterations_per_epoch).tolist()
        names = ("loss_fresh", "loss_resampled", "cosine_fresh", "cosine_resampled")
        measured = dict(zip(names, means, strict=True))
        measured |= {"validation_mse": validation_mse, "validation_cosine": validation_cosine}
        row = {
            "epoch": self.epoch + 1,
            "images": 2 * self.step * self.options.batch_size,
            "learning_rate": float(self.method.optimizer.param_groups[0]["lr"]),
        }
        self.log.append(row | measured)
        # without validation, or for a method without a teacher, some are not known
        known = [f"{n} {value:.4g}" for n, value in measured.items() if not math.isnan(value)]
        logger.info("epoch %d of %d: %s", row["epoch"], self.options.epochs, ", ".join(known))

    def save(self) -> None:
        """Write a checkpoint."""
        sums, method = self.mean_sums(), self.method
        remembered = method.state_dict()
        if self.fabric.is_global_zero:
            state = {
                "epoch": self.epoch,
                "iteration": self.iteration,
                "iterations_per_epoch": self.options.iterations_per_epoch,
                "sums": sums,
                "rows": self.log,
                "student": method.student.state_dict(),
                "method": remembered,
                "optimizer": method.optimizer.state_dict(),
                "scheduler": method.scheduler and method.scheduler.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
            }
            save_checkpoint(self.folder.path, state)
        self.saved_at = time.monotonic()

    def resume(self, state: dict[str, Any] | None) -> None:
        """Go on from a checkpoint's state, if there is one."""
        if state is None:
            return
        method = self.method
        try:
            if state["iterations_per_epoch"] != self.options.iterations_per_epoch:
                raise ValueError(f"its epochs have {state['iterations_per_epoch']} iterations")
            method.student.load_state_dict(state["student"])
            method.load_state_dict(state["method"])
            method.optimizer.load_state_dict(state["optimizer"])
            if method.scheduler is not None and state["scheduler"] is not None:
                method.scheduler.load_state_dict(state["scheduler"])
            self.fabric.strategy.precision.load_state_dict(state["precision"])
            self.epoch, self.iteration = state["epoch"], state["iteration"]
            # the mean over the processes, for each of them: their mean at the epoch's end is right
            self.sums.copy_(state["sums"])
            self.log = state["rows"]
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

        options = self.options
        self.method.student.eval()
        numbers = RandomNumbers(options.seed, "samples", 0, SAMPLE_IMAGES, self.fabric.device)
        samples = self.method.samples(numbers, range(SAMPLE_IMAGES))
        if not self.fabric.is_global_zero:
            return
        images = 2 * self.step * options.batch_size
        about = {"epoch": self.epoch, "images": images, "seed": options.seed}
        save_student(self.folder.student, self.method.student.module, **about)
        self.folder.draw_samples(*samples)
        if self.log:
            from torch.utils.tensorboard import SummaryWriter

            self.folder.write_log(self.log)
            # a resumed run may repeat an epoch: purge_step hides what was written of it before
            with SummaryWriter(str(self.folder.events), purge_step=self.epoch) as writer:
                for name, value in self.log[-1].items():
                    if name not in ("epoch", "images"):
                        writer.add_scalar(name, value, self.epoch)

    def tell(self, bar: Any) -> None:
        """Log now and then what the bar would show, where no terminal shows it."""
        late = time.monotonic() - self.told_at > TELL_SECONDS
        if late and self.fabric.is_global_zero and not sys.stderr.isatty():
            logger.info("%s", bar)
            self.told_at = time.monotonic()

    def numbers(self, stream: str, iteration: int) -> RandomNumbers:
        """Give the random numbers of an iteration of a stream."""
        options, device = self.options, self.fabric.device
        return RandomNumbers(options.seed, stream, iteration, options.batch_size, device)

    def over_processes(self, values: torch.Tensor) -> torch.Tensor:
        """Add up a tensor over all processes."""
        return torch.as_tensor(self.fabric.all_reduce(values, reduce_op="sum"))

    def mean_sums(self) -> torch.Tensor:
        """Give the mean of the processes' sums, on the CPU."""
        return self.over_processes(self.sums / self.fabric.world_size).cpu()

    def bar(self) -> Any:
        """Make the progress bar: images, images/s, time left; seen on a terminal only."""
        from tqdm import tqdm

        terminal = sys.stderr.isatty()
        return tqdm(
            total=self.options.images,
            initial=2 * self.step * self.options.batch_size,
            unit="img",
            unit_scale=True,
            disable=not self.fabric.is_global_zero,
            delay=0 if terminal else math.inf,
            dynamic_ncols=terminal,
        )


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
