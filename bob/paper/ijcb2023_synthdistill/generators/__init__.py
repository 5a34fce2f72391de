"""The face generators: StyleGAN2 in plain PyTorch and the safe readers of its files."""
