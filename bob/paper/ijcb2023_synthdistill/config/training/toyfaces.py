"""ToyFaces: the paper's method in miniature, minutes on two cores. Dynamic sampling."""

from functools import partial

from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from bob.paper.ijcb2023_synthdistill.toyfaces import GENERATOR, TEACHER

generator = GENERATOR
teacher = TEACHER
student = "mobilenetv3_small_050"
initialisation = "random"
sampling = "dynamic"
resampling_coefficient = 1.0
loss = "mse"
# at 3e-3 a start in some seeds never recovers
optimizer = partial(Adam, lr=2e-3)
scheduler = partial(CosineAnnealingLR, T_max=10)
epochs = 10
images_per_epoch = 3072
batch_size = 32
validation_images = 128
seed = 2021
