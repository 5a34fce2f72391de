"""SynthDistill (IJCB 2023): distil a small face recogniser from generated faces only."""
