"""TinyFaR-A by the paper's recipe: table 1, row "TinyFaR-A"."""

from functools import partial

from torch.optim import Adam
from torch.optim.lr_scheduler import StepLR

student = "tinyfar-a"
initialisation = "imagenet"
sampling = "dynamic"
resampling_coefficient = 1.0
loss = "mse"
optimizer = partial(Adam, lr=1e-3, fused=True)
scheduler = partial(StepLR, step_size=10, gamma=0.5)
epochs = 21
images_per_epoch = 1_000_000
batch_size = 128
validation_images = 78 * 128
truncation_psi = 1.0
noise_mode = "random"
seed = 2021
