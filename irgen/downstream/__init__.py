"""Whether generated images make a detector better on real frames: the proof that counts for those who train on them."""
