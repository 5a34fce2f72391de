"""Run trainings in processes of their own, quickly: import once, fork for each.

A script, not a module: ``python processes.py PLANS.json``, as the tests write them. The
process that forks computes nothing itself, and one OpenMP thread makes forking safe.
"""

import json
import os
import random
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path

import torch
import torch.utils.tensorboard  # once, not in each process
from tiny_student import Tiny

from bob.paper.ijcb2023_synthdistill.distillation import networks
from bob.paper.ijcb2023_synthdistill.distillation.checkpoint import load_checkpoint, save_checkpoint
from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.networks import assemble, create_fabric
from bob.paper.ijcb2023_synthdistill.distillation.options import Options
from bob.paper.ijcb2023_synthdistill.distillation.processes import launched
from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers
from bob.paper.ijcb2023_synthdistill.distillation.stopping import Stop
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition.student import create_student


class Ones:
    """A loss that is always 1, and does something at one of its calls."""

    def __init__(self):
        self.calls, self.value, self.call, self.action = 0, 1.0, 0, None

    def at(self, call, action):
        self.call, self.action = call, action

    def __call__(self, student, teacher):
        self.calls += 1
        if self.calls == self.call:
            self.action()
        return (0 * student).sum() + self.value


# NCCL refuses two processes on one device
networks.DDPStrategy = partial(networks.DDPStrategy, process_group_backend="gloo")

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=5e-3),
    "adam": partial(torch.optim.Adam, lr=1e-3),
}
STUDENTS = {"Tiny": Tiny, "Tiny without batch norm": partial(Tiny, batch_norm=False)}


def make(options):
    """Make options from what JSON can say."""
    values = {"student": STUDENTS, "loss": {"ones": Ones()}, "optimizer": OPTIMIZERS}
    return Options(**{k: values.get(k, {}).get(v, v) for k, v in options.items()})


def child(work, environment=()):
    """Do the work in a new process, as if it had been started with these variables."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ.update(environment)
        work()
        code = 0
    except BaseException as error:  # tell it, and do not return into the parent's code
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        sys.stderr.flush()
        os._exit(code)


def in_ranks(work, ranks, nodes=1):
    """Do the work in some processes, as torchrun would start them on nodes; give the statuses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks // nodes),
        "TORCHELASTIC_RUN_ID": "test",
    }
    places = [divmod(rank, ranks // nodes) for rank in range(ranks)]
    pids = [
        child(work, common | {"RANK": str(k), "LOCAL_RANK": str(local), "GROUP_RANK": str(node)})
        for k, (node, local) in enumerate(places)
    ]
    return [os.waitpid(pid, 0)[1] for pid in pids]


def train_together(plan):
    """Train in a number of processes; ask to stop in iteration ``stop``, if any."""
    ranks, nodes = plan["ranks"], plan.get("nodes", 1)
    several = {"devices": ranks // nodes, "num_nodes": nodes}
    stop, options = Stop(), make({**plan["options"], **several})
    if isinstance(options.loss, Ones):
        options.loss.at(2 * plan.get("stop", 0), partial(setattr, stop, "code", 99))
    assert not any(in_ranks(partial(train, options, Path(plan["folder"]), stop), ranks, nodes))


def spoil(plan):
    """Let one process of two have a loss that is not finite; keep what each says."""

    def work():
        options = make({**plan["options"], "devices": 2})
        if os.environ["RANK"] == "1":
            options.loss.at(6, partial(setattr, options.loss, "value", float("nan")))
        try:
            train(options, Path(plan["folder"]) / "run", Stop())
        except SynthDistillError as error:
            (Path(plan["folder"]) / os.environ["RANK"]).write_text(error.message)

    in_ranks(work, 2)


class Faces(torch.nn.Module):
    """A generator in float64: one linear layer."""

    z_dim = w_dim = 8
    num_ws, resolution = 1, 64

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 3 * 64 * 64).double()

    def mapping(self, z, truncation_psi):
        return z.double()[:, None] * truncation_psi

    def synthesis(self, ws, noise_mode, noise):
        return self.layer(ws[:, 0]).view(-1, 3, 64, 64).tanh()


def exact(plan):
    """Do updates in float64 in some processes; keep the students."""

    def work(ranks):
        options = make({**plan["options"], "devices": ranks})
        torch.manual_seed(0)
        # one of ours, or of the TinyFaRs' family
        name = plan["student"]
        student = STUDENTS[name]() if name in STUDENTS else create_student(name, "random")
        teacher = torch.nn.Sequential(
            torch.nn.AvgPool2d(28), torch.nn.Flatten(), torch.nn.Linear(48, 512)
        )
        fabric = create_fabric(options)
        with launched(fabric):
            frozen = Faces().requires_grad_(False), teacher.double()
            method = assemble(options, fabric, *frozen, student.double())
            method.student.train()
            share = options.batch_size // ranks
            rows = range(fabric.global_rank * share, (fabric.global_rank + 1) * share)
            for iteration in range(plan["iterations"]):
                numbers = RandomNumbers(1, "train", iteration, options.batch_size, "cpu")
                results = method.iteration(numbers, rows)
                losses = [fabric.all_reduce(r.loss, reduce_op="mean") for r in results]
            state = {f"student.{k}": v for k, v in method.student.module.state_dict().items()}
            if fabric.is_global_zero:
                torch.save(state | {"losses": torch.stack(losses)}, f"{plan['folder']}/{ranks}.pt")

    for ranks in plan["ranks"]:
        assert not any(in_ranks(partial(work, ranks), ranks))


def killed(work, plan):
    """Start some work, kill it with SIGKILL at a random moment; give its status."""
    pid = child(work)
    time.sleep(plan["chance"].uniform(0, plan["seconds"]))
    done, status = os.waitpid(pid, os.WNOHANG)
    if not done:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return status


def kill(plan):
    """Train undisturbed, then again, killed at random moments but in the end; kill saving, too."""
    folder, options = Path(plan["folder"]), make(plan["options"])
    assert os.waitpid(child(partial(train, options, folder / "whole", Stop())), 0)[1] == 0
    work = partial(train, options, folder / "killed", Stop())
    kills = 0
    for _ in range(plan["kills"]):
        status = killed(work, plan)
        assert os.WIFSIGNALED(status) or status == 0, "a training that went on failed"
        kills += os.WIFSIGNALED(status)
    assert os.waitpid(child(work), 0)[1] == 0
    told = {"kills": kills} | kill_savers({**plan, "seconds": 0.05}, folder / "saves")
    sys.stdout.write(json.dumps(told) + "\n")


def kill_savers(plan, folder):
    """Kill a process that does nothing but save, and look after each kill what is left."""

    def save_forever(number):
        while True:
            number += 1
            save_checkpoint(folder, {"epoch": number, "w": torch.full((10**5,), float(number))})

    number, during = 0, 0
    for _ in range(30):
        killed(partial(save_forever, number), plan)
        half = list(folder.glob(".last.ckpt.*"))
        during += bool(half)
        for path in half:
            path.unlink()
        state = load_checkpoint(folder) or {"epoch": 0, "w": torch.zeros(1)}
        assert state["epoch"] >= number, (state["epoch"], number)
        number = state["epoch"]
        assert (state["w"] == number).all()
    return {"saves": number, "killed during one": during}


if __name__ == "__main__":
    for plan in json.loads(Path(sys.argv[1]).read_text()):
        plan["chance"] = random.Random(plan.get("seed"))
        {"train": train_together, "exact": exact, "spoil": spoil, "kill": kill}[plan["do"]](plan)
