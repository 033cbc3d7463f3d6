"""FNet on today's JAX: pretrain, fine-tune and evaluate Fourier-mixing encoders.

Read in this order: `nn.transforms`, `nn.mixers`, `nn.encoder`, `nn.heads`, `train.step`, `train.loop`.
"""

__version__ = "0.1.0"
