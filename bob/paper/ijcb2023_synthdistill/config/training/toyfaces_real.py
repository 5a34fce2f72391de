"""ToyFaces, real data: the student of `toyfaces` trained on labelled renderings, no teacher."""

from bob.paper.ijcb2023_synthdistill.config.training.toyfaces import *
from bob.paper.ijcb2023_synthdistill.toyfaces.supervised import LabelledRenderings

method = LabelledRenderings
