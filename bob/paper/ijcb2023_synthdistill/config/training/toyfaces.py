"""ToyFaces: the paper's method in miniature, minutes on two cores. Dynamic sampling."""

from functools import partial

from torch.optim import Adam
from torch.optim.lr_scheduler import StepLR

from bob.paper.ijcb2023_synthdistill.toyfaces import GENERATOR, TEACHER

generator = GENERATOR
teacher = TEACHER
student = "lcnet_050"
initialisation = "random"
sampling = "dynamic"
resampling_coefficient = 1.0
loss = "mse"
optimizer = partial(Adam, lr=2e-3)
scheduler = partial(StepLR, step_size=6, gamma=0.5)
epochs = 10
images_per_epoch = 2048
batch_size = 32
validation_images = 256
seed = 2021
