"""The folded teacher against the plain one."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bob.paper.ijcb2023_synthdistill.recognition.fast import (
    CHUNK,
    FastTeacher,
    accelerate_teacher,
    rectify,
    repeat_slopes,
)
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet
from bob.paper.ijcb2023_synthdistill.recognition.teacher import Teacher


def make():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = IResNet((1, 2, 1, 2), widths=(8, 16, 16, 24), embedding_size=32)
        for module in network.modules():
            # statistics of a trained network: nothing is 0 or 1
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 2)
                module.weight.data.uniform_(-1, 1.5)
                module.bias.data.normal_(0, 0.5)
            elif isinstance(module, nn.PReLU):
                module.weight.data.uniform_(-0.2, 0.5)
    return Teacher(network.eval())


def images(count=3):
    return torch.rand(count, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_embeddings_are_the_plain_ones():
    teacher = make()
    expected, found = teacher(images()), FastTeacher(teacher)(images())
    assert found.shape == (3, 32)
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_a_batch_larger_than_a_chunk_is_whole():
    teacher = make()
    faces = images(CHUNK + 3)
    assert torch.allclose(FastTeacher(teacher)(faces), teacher(faces), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_rectified_as_channels_are(dtype):
    prelu = nn.PReLU(8)
    prelu.weight.data.uniform_(-0.5, 1.5, generator=torch.Generator().manual_seed(1))
    x = (
        images()[:, :1]
        .expand(-1, 8, -1, -1)
        .to(dtype)
        .contiguous(memory_format=torch.channels_last)
    )
    found = rectify(x, repeat_slopes(prelu, 112, dtype))
    assert torch.equal(found, F.prelu(x, prelu.weight.to(dtype)))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_bfloat16_is_near():
    teacher = make()
    expected, found = teacher(images()), FastTeacher(teacher, torch.bfloat16)(images())
    assert found.dtype == torch.float32
    distance = 1 - F.cosine_similarity(found, expected)
    assert 1e-9 < distance.max() < 2e-3


def test_the_plain_teacher_stays_as_it_was():
    teacher = make()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    FastTeacher(teacher)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_other_teachers_are_left_as_they_are():
    other = nn.Identity()
    assert accelerate_teacher(other) is other
    assert isinstance(accelerate_teacher(make(), None), FastTeacher)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_the_plain_embeddings():
    teacher = make().cuda()
    expected, found = teacher(images().cuda()), FastTeacher(teacher)(images().cuda())
    assert (found - expected).norm() < 5e-3 * expected.norm()
