"""The steps of docs/add_a_mixer.md, followed literally, make a mixer that trains."""

import dataclasses
import inspect
import re
import typing

import numpy as np

from fnet_jax.core import config as config_lib
from fnet_jax.nn import mixers, transforms
from tests.conftest import REPOSITORY
from tests.nn import reference
from tests.train.synthetic import Trainer, config, random_batch


def test_the_guide_to_new_mixers_works(monkeypatch):
    page = (REPOSITORY / "docs/add_a_mixer.md").read_text()
    function, row, name, golden = re.findall(r"```python\n(.*?)```", page, re.S)
    name = name.strip().strip('"')
    # Everything is where the page says it is.
    for step, module in zip((1, 2, 3, 4), (transforms, mixers, config_lib, reference), strict=True):
        (text,) = re.findall(rf"^\*\*{step}\..*?(?=```)", page, re.S | re.M)
        assert inspect.getsourcefile(module).removeprefix(f"{REPOSITORY}/") in text
    assert name not in typing.get_args(config_lib.Mixer)

    namespace = dict(vars(transforms))
    exec(function, namespace)
    monkeypatch.setattr(transforms, name, namespace[name], raising=False)
    monkeypatch.setitem(mixers.MIXERS, name, eval(f"{{{row}}}", vars(mixers))[name])

    x = np.random.default_rng(0).normal(size=(2, 12, 8)).astype(np.float32)
    y = mixers.MIXERS[name](reference.tiny_config(), name=name).apply({}, x)
    expected = eval(f"{{{golden}}}", vars(reference) | {"x": x.astype(np.float64)})[name]()
    assert reference.relative_errors(y, expected)[1] < 2e-6

    cfg = config()
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, mixer=name, num_attention_layers=1))
    assert np.isfinite(Trainer(cfg).train(random_batch(cfg, 8))["loss"])
