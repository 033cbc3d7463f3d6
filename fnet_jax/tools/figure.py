"""Pictures without a screen: `plt` draws into files alone."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from fnet_jax.core.files import atomic_file


def save_png(figure: Figure, path: str) -> None:
    """Writes a PNG whole or not at all, and frees the figure."""
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=130)
    plt.close(figure)
