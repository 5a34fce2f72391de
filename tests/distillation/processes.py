"""Run trainings in processes of their own, quickly: import once, fork for each.

A script, not a module: ``python processes.py PLAN.json`` with a plan as the tests write it. The
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
from tiny_student import Tiny

from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.options import Options
from bob.paper.ijcb2023_synthdistill.distillation.stopping import Stop
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=5e-3),
    "adam": partial(torch.optim.Adam, lr=1e-3),
}


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


STUDENTS = {"Tiny": Tiny, "Tiny without batch norm": partial(Tiny, batch_norm=False)}


def make_student(name):
    """Make one of ours, or a small network of the TinyFaRs' family."""
    if name in STUDENTS:
        return STUDENTS[name]()
    from bob.paper.ijcb2023_synthdistill.recognition.student import create_student

    return create_student(name, "random")


def make(options):
    """Make options from what JSON can say."""
    if options["student"] in STUDENTS:
        options = {**options, "student": STUDENTS[options["student"]]}
    if options.get("loss") == "ones":
        options = {**options, "loss": Ones()}
    if "optimizer" in options:
        options = {**options, "optimizer": OPTIMIZERS[options["optimizer"]]}
    return Options(**options)


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


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def in_ranks(work, ranks):
    """Do the work in some processes, as torchrun would start them; give the statuses."""
    port = free_port()
    pids = []
    for rank in range(ranks):
        environment = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "GROUP_RANK": "0",
            "TORCHELASTIC_RUN_ID": "test",
        }
        pids.append(child(work, environment))
    return [os.waitpid(pid, 0)[1] for pid in pids]


def compare(plan):
    """Train once for each number of processes; ask to stop in iteration ``stop``, if any."""
    for ranks in plan["ranks"]:
        folder, stop = Path(plan["folder"]) / plan.get("name", str(ranks)), Stop()
        options = make({**plan["options"], "devices": ranks})
        if isinstance(options.loss, Ones):
            options.loss.at(2 * plan.get("stop", 0), lambda stop=stop: setattr(stop, "code", 99))
        statuses = in_ranks(partial(train, options, folder, stop), ranks)
        assert not any(statuses), statuses


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


def exact(plan):
    """Do updates in float64 in some processes; keep the students."""
    from bob.paper.ijcb2023_synthdistill.distillation.networks import assemble, create_fabric
    from bob.paper.ijcb2023_synthdistill.distillation.processes import launched
    from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers

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

    def work(ranks):
        options = make({**plan["options"], "devices": ranks})
        torch.manual_seed(0)
        student = make_student(plan["student"]).double()
        teacher = torch.nn.Sequential(
            torch.nn.AvgPool2d(28), torch.nn.Flatten(), torch.nn.Linear(48, 512)
        ).double()
        fabric = create_fabric(options)
        with launched(fabric):
            method = assemble(options, fabric, Faces().requires_grad_(False), teacher, student)
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


def kill(plan):
    """Kill a training with SIGKILL at random moments, then let it end."""
    options, folder = plan["options"], Path(plan["folder"])
    work = partial(train, make(options), folder, Stop())
    chance = random.Random(plan["seed"])
    kills = 0
    for _ in range(plan["kills"]):
        pid = child(work)
        time.sleep(chance.uniform(0, plan["seconds"]))
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            kills += 1
        elif status == 0:
            break
        else:
            sys.exit("a training that went on after a kill failed")
    _, status = os.waitpid(child(work), 0)
    sys.stdout.write(json.dumps({"kills": kills}) + "\n")
    sys.exit(status != 0)


def kill_savers(plan):
    """Kill a process that does nothing but save, and look after each kill what is left."""
    from bob.paper.ijcb2023_synthdistill.distillation.checkpoint import (
        load_checkpoint,
        save_checkpoint,
    )

    folder = Path(plan["folder"])
    chance = random.Random(plan["seed"])

    def save_forever(number):
        while True:
            number += 1
            save_checkpoint(
                folder, {"iteration": number, "w": torch.full((plan["size"],), float(number))}
            )

    number, during = 0, 0
    for _ in range(plan["kills"]):
        pid = child(partial(save_forever, number))
        time.sleep(chance.uniform(0, plan["seconds"]))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        during += bool(list(folder.glob(".last.ckpt.*")))
        for path in folder.glob(".last.ckpt.*"):
            path.unlink()
        state = load_checkpoint(folder)
        found = 0 if state is None else state["iteration"]
        assert found >= number, (found, number)
        assert state is None or torch.equal(state["w"], torch.full((plan["size"],), float(found)))
        number = found
    sys.stdout.write(json.dumps({"saves": number, "killed during one": during}) + "\n")


if __name__ == "__main__":
    plan = json.loads(Path(sys.argv[1]).read_text())
    tasks = {
        "compare": compare,
        "exact": exact,
        "spoil": spoil,
        "kill": kill,
        "kill savers": kill_savers,
    }
    tasks[plan["do"]](plan)
