"""ToyFaces with a middle-sized student, for the tables that compare sizes."""

from bob.paper.ijcb2023_synthdistill.config.training.toyfaces import *

student = "lcnet_050"
