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

from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.options import Options
from bob.paper.ijcb2023_synthdistill.distillation.stopping import Stop

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=5e-3),
    "adam": partial(torch.optim.Adam, lr=1e-3),
}


class Tiny(torch.nn.Sequential):
    """A student of two convolutions with batch norm, or with a norm of each image."""

    def __init__(self, batch_norm=True):
        def norm(channels):
            return torch.nn.BatchNorm2d(channels) if batch_norm else torch.nn.GroupNorm(1, channels)

        super().__init__(
            torch.nn.Conv2d(3, 8, 3, stride=4, bias=False),
            norm(8),
            torch.nn.ReLU(),
            torch.nn.Conv2d(8, 16, 3, stride=4, bias=False),
            norm(16),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(64, 512),
        )


def make(options):
    """Make options from what JSON can say."""
    students = {"Tiny": Tiny, "Tiny without batch norm": partial(Tiny, batch_norm=False)}
    if options["student"] in students:
        options = {**options, "student": students[options["student"]]}
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
    """Train once for each number of processes."""
    for ranks in plan["ranks"]:
        begin = time.monotonic()
        folder = Path(plan["folder"]) / plan.get("name", str(ranks))
        options = make({**plan["options"], "devices": ranks})
        statuses = in_ranks(partial(train, options, folder, Stop()), ranks)
        assert not any(statuses), statuses
        sys.stdout.write(f"{ranks} processes: {time.monotonic() - begin:.1f} s\n")


def normalise(plan):
    """Put a batch through batch norms, whole and divided; keep values, gradients, statistics."""
    from timm.layers import BatchNormAct2d

    from bob.paper.ijcb2023_synthdistill.distillation.batchnorm import synchronise

    def work(ranks):
        rank = int(os.environ["RANK"]) if ranks > 1 else 0
        if ranks > 1:
            torch.distributed.init_process_group("gloo")
        numbers = torch.Generator().manual_seed(1)
        results = {}
        for name, layer, shape in (
            ("2d", torch.nn.BatchNorm2d(3), (8, 3, 5, 4)),
            ("1d", torch.nn.BatchNorm1d(3, momentum=None), (8, 3)),
            ("timm", BatchNormAct2d(3, act_layer=torch.nn.SiLU, momentum=0.3), (8, 3, 2, 2)),
            ("plain", torch.nn.BatchNorm2d(3, affine=False), (8, 3, 2, 2)),
        ):
            before = dict(layer.state_dict())
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter.copy_(torch.randn(3, generator=numbers))
            network = layer if ranks == 1 else synchronise(torch.nn.Sequential(layer))[0]
            assert list(network.state_dict()) == list(before)
            for step in range(3):
                whole = 100 + 3 * torch.randn(shape, generator=numbers)
                weight = torch.randn(shape, generator=numbers)
                part = slice(rank * 8 // ranks, (rank + 1) * 8 // ranks)
                x = whole[part].clone().requires_grad_()
                y = network(x)
                (y * weight[part]).sum().backward()
                results[f"{name}.{step}.y"], results[f"{name}.{step}.dx"] = y.detach(), x.grad
            results |= {f"{name}.{k}": v for k, v in network.state_dict().items()}
            results |= {f"{name}.{k}.grad": v.grad for k, v in network.named_parameters()}
            network.eval()
            results[f"{name}.eval.y"] = network(x).detach()
        torch.save(results, Path(plan["folder"]) / f"{ranks}.{rank}.pt")

    for ranks in (1, 2):
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
    tasks = {"compare": compare, "normalise": normalise, "kill": kill, "kill savers": kill_savers}
    tasks[plan["do"]](plan)
