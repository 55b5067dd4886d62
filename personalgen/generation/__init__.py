"""From preferences and a generator to sealed shards of images: plan, sampler, encoders, shards, run.

Import from the modules: the options and the shards need no torch, and the command line starts without it.
"""
