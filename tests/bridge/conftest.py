"""Folders of transformers for tests."""

import shutil

import pytest

from fnet_jax.bridge.huggingface import folder as huggingface
from tests.bridge.made import made


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    huggingface.write(made("pretrain"), str(folder))
    return folder


@pytest.fixture
def folder(source, tmp_path):
    """A good folder that a test may spoil."""
    shutil.copytree(source, tmp_path / "model")
    return tmp_path / "model"
