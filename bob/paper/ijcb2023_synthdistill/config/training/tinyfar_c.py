"""TinyFaR-C by the paper's recipe: table 1, row "TinyFaR-C"."""

from bob.paper.ijcb2023_synthdistill.config.training.tinyfar_a import *

student = "tinyfar-c"
