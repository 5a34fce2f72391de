"""ToyFaces, static sampling: two fresh batches an iteration, the miniature of table 4's row."""

from bob.paper.ijcb2023_synthdistill.config.training.toyfaces import *

sampling = "static"
