"""Where the attention layers of a hybrid lie."""

import numpy as np
import pytest

from fnet_jax.nn.encoder import describe_layers, layer_mixers, layer_runs
from tests.nn import reference

LAYOUTS = ("bottom", "middle", "mixed", "top")


def attention_layers(layout, layers, k):
    config = reference.tiny_config(num_layers=layers, num_attention_layers=k, attention_layout=layout)
    return [i for i, mixer in enumerate(layer_mixers(config)) if mixer == "attention"]


def original_attention_layers(layout, layers, k):
    """The rules of the original code; its `mixed` divides by zero for k = 0."""
    rule = {
        "bottom": lambda i: i < k,
        "middle": lambda i: layers - k <= 2 * i < layers + k,
        "mixed": lambda i: i % (layers // k) == 0,
        "top": lambda i: i >= layers - k,
    }[layout]
    return [i for i in range(layers) if rule(i)] if k else []


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layers", [1, 2, 5, 12, 24])
def test_layouts_have_exactly_k_layers_and_the_originals_places(layout, layers):
    for k in range(layers + 1):
        places = attention_layers(layout, layers, k)
        assert len(places) == k
        original = original_attention_layers(layout, layers, k)
        if len(original) == k:
            assert places == original
        else:
            assert layout == "mixed"
            assert layers % k != 0


def test_mixed_is_even():
    for k in range(1, 25):
        gaps = np.diff([*attention_layers("mixed", 24, k), 24])
        assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("k", [-1, 3])
def test_impossible_number_of_attention_layers(k):
    with pytest.raises(ValueError, match=f"num_attention_layers={k} is not within 0 … num_layers=2"):
        layer_mixers(reference.tiny_config(num_attention_layers=k))


def test_runs():
    middle = dict(num_layers=5, num_attention_layers=2, attention_layout="middle")
    assert layer_runs(reference.tiny_config(**middle)) == [
        (0, 2, "fourier"),
        (2, 2, "attention"),
        (4, 1, "fourier"),
    ]
    assert layer_runs(reference.tiny_config(mixer="attention", **middle)) == [(0, 5, "attention")]


@pytest.mark.parametrize(
    ("values", "platform", "text"),
    [
        ({}, "cpu", "2 layers of fourier (fft)"),
        ({"num_attention_layers": 1}, "tpu", "1 layer of fourier (dft), 1 layer of attention"),
        ({"fourier_impl": "split"}, "cpu", "2 layers of fourier (split)"),
        ({"mixer": "dct"}, "cpu", "2 layers of dct"),
        ({"mixer": "attention", "attention_impl": "cudnn"}, "gpu", "2 layers of attention (cudnn)"),
        ({"mixer": "attention", "attention_impl": "cudnn"}, "cpu", "2 layers of attention (xla)"),
    ],
)
def test_description_says_how_fourier_is_computed(values, platform, text):
    assert describe_layers(reference.tiny_config(**values), platform) == text
