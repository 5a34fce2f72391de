"""The method: latent sampling, the step, the loop, checkpoints and the run folder."""
