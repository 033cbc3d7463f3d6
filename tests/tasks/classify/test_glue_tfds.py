"""GLUE from TFDS."""

import dataclasses

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fnet_jax.core.errors import UserError
from fnet_jax.data import tfds_sets
from fnet_jax.tasks.open import open_labelled
from fnet_jax.tasks.table import TASKS


class Qnli(tfds.core.GeneratorBasedBuilder):
    """QNLI as TFDS has it, with its labels in another order."""

    VERSION = tfds.core.Version("2.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="qnli")]  # noqa: RUF012

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "question": tfds.features.Text(),
                    "sentence": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(names=["not_entailment", "entailment"]),
                    "idx": np.int32,
                }
            )
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(["entailment", -1, "not_entailment", "entailment"]),
            "validation": self._generate_examples(["not_entailment"]),
            "test": self._generate_examples([-1, -1]),
        }

    def _generate_examples(self, labels):
        for index, label in enumerate(labels):
            yield (
                index,
                {
                    "question": f"Which ä is {index}?",
                    "sentence": f"It is {index}.",
                    "label": label,
                    "idx": 10 * index,
                },
            )


@pytest.fixture(scope="module")
def qnli_dir(tmp_path_factory) -> str:
    builder = Qnli(config="qnli", data_dir=tmp_path_factory.mktemp("tfds"), file_format="array_record")
    builder.download_and_prepare()
    return str(builder.data_dir)


def test_glue_from_tfds(qnli_dir, make_data):
    data = open_labelled("qnli", make_data(corpus=f"tfds:{qnli_dir}"), 0)
    train, test = data.split("train"), data.split("test")
    rows = sorted(zip(train.ids, train.texts, train.texts_b, train.labels.tolist(), strict=True))
    assert data.labels == ("entailment", "not_entailment")
    assert rows == [
        (0, "Which ä is 0?", "It is 0.", 0),
        (20, "Which ä is 2?", "It is 2.", 1),
        (30, "Which ä is 3?", "It is 3.", 0),
    ]
    assert data.split("validation").labels.tolist() == [1]
    assert test.labels is None and sorted(test.ids) == [0, 10]
    assert any("1 examples of" in warning and "have no label" in warning for warning in data.warnings)
    assert any("QNLI train: 3 of 104,743 official examples" in warning for warning in data.warnings)


def test_glue_from_tfds_by_name(qnli_dir, make_data, monkeypatch):
    data_dir = qnli_dir.split("/qnli/")[0]
    asked = []

    def builder_class(**options):
        asked.append(options["config"])
        return Qnli(data_dir=data_dir, **options)

    monkeypatch.setattr(tfds, "builder_cls", lambda name: builder_class)
    tfds_sets.open_builder.cache_clear()
    assert len(open_labelled("qnli", make_data(corpus="tfds:glue"), 0).split("train")) == 3
    assert asked == ["qnli"]
    tfds_sets.open_builder.cache_clear()


def test_another_task_from_tfds_is_refused(qnli_dir, make_data, monkeypatch):
    with pytest.raises(UserError, match="holds 'qnli', not task='rte'"):
        open_labelled("rte", make_data(corpus=f"tfds:{qnli_dir}"), 0)
    monkeypatch.setitem(TASKS, "qnli", dataclasses.replace(TASKS["qnli"], tfds_fields=("title",)))
    with pytest.raises(UserError, match="has no field 'title'; it has idx, label, question, sentence"):
        open_labelled("qnli", make_data(corpus=f"tfds:{qnli_dir}"), 0)


def test_tfds_glue_is_known_by_its_name_but_not_prepared(make_data):
    with pytest.raises(UserError, match=r"is not prepared in .*run `tfds build glue/rte"):
        open_labelled("rte", make_data(corpus="tfds:glue"), 0)
