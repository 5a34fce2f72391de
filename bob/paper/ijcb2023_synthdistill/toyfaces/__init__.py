"""ToyFaces: the embedded miniature world of drawn faces."""
