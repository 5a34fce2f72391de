"""The folded teacher against the plain one."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bob.paper.ijcb2023_synthdistill.recognition.inference import CHUNK, for_inference, rectify
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


@pytest.mark.parametrize("count", [1, 3, CHUNK + 3])
def test_embeddings_are_the_plain_ones(count):
    teacher = make()
    folded = for_inference(teacher)
    expected, found = teacher(images(count)), folded(images(count))
    assert found.shape == (count, folded.embedding_size) == (count, 32)
    assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_rectified_as_channels_are(dtype):
    slopes = torch.rand(8, generator=torch.Generator().manual_seed(1)).mul(2).sub(0.5).to(dtype)
    x = images()[:, :1].expand(-1, 8, -1, -1).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    found = rectify(x, slopes.repeat(112))
    assert torch.equal(found, F.prelu(x, slopes))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_folding_in_bfloat16_loses_no_more_than_bfloat16_does():
    teacher = make()
    expected, found = teacher(images(16)), for_inference(teacher, torch.bfloat16)(images(16))
    teacher.set_precision(torch.bfloat16)
    unfolded = teacher(images(16))
    assert found.dtype == torch.float32
    lost, lost_unfolded = (1 - F.cosine_similarity(x, expected).mean() for x in (found, unfolded))
    assert 1e-9 < lost < 2 * lost_unfolded < 2e-3


def test_the_input_convention_is_the_teachers():
    bgr = Teacher(make().network, mean=120.0, std=60.0, colour="BGR")
    expected, found = bgr(images()), for_inference(bgr)(images())
    assert (found - expected).norm() < 1e-5 * expected.norm()
    assert (found - for_inference(make())(images())).norm() > 0.01 * expected.norm()


def test_other_teachers_are_left_as_they_are():
    for other in (nn.Identity(), Teacher(nn.Flatten())):
        assert for_inference(other) is other


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_the_plain_embeddings():
    teacher = make().cuda()
    expected, found = teacher(images().cuda()), for_inference(teacher)(images().cuda())
    assert (found - expected).norm() < 5e-3 * expected.norm()
