"""What this machine can run: its memory and speed, and what a checkpoint takes of both.

Pure functions from the shape of an architecture to bytes and seconds, and readers of what the
operating system and the vendors' tools say of the hardware. Knows nothing of torch.
"""
