"""Training a checkpoint of our own: corpora, reformulation, packing, the loop. Needs the ``train`` extra."""
