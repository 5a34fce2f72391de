"""What helps beyond the paper's recipe, behind a base: `synthdistill-train toyfaces better`."""

from functools import partial

from torch.optim import AdamW

loss = "mse=1,cosine=10"
optimizer = partial(AdamW, lr=4e-3, weight_decay=0.02, fused=True)
scheduler = "cosine"
augmentation = "geometry+colour+sharpness+occlusion"
replay = 3
