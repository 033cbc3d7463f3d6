"""Uses a trained model: python -m fnet_jax.tools.predict COMMAND --model=DIR [TEXT ... | -] [--input=FILE].

    fill-mask      the best tokens for each [MASK]; with --held_out=N, of N held-out examples of the run
    classify       the class of a text or pair with all probabilities, or a number
    encode         the vector of a text or pair
    next-sentence  the probability that the second text of a pair follows the first one
    tag            a tag for each word of a sentence
    choose         which of several texts follows the first one
    answer         the span of a context that answers a question

Texts stand on the command line, come from stdin (-), one a line, or from --input. Answers go to --output, or
to the screen. docs/predict.md shows what each prints.
"""

import os
from collections.abc import Sequence
from typing import Any

from absl import flags

from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import MASK_TEXT
from fnet_jax.runtime import cli, signals
from fnet_jax.tools.predict.commands import COMMANDS, FieldNames

FORMATS = {
    ".txt": "lines", ".jsonl": "jsonl", ".csv": "csv", ".tsv": "tsv", ".json": "squad",
    ".conll": "conll", ".bio": "conll", ".iob": "conll", ".iob2": "conll",
}  # fmt: skip

flags.DEFINE_string("model", None, "Workdir of a run, or a folder with a model: ours or Hugging Face's.")
flags.DEFINE_integer("step", None, "Step of the run's checkpoint; the best one by default, or the newest.")
flags.DEFINE_enum("dtype", None, ["float32", "bfloat16"], "Of the computation; as in training by default.")
flags.DEFINE_string("tokenizer", None, "SentencePiece model; by default the one that lies by the model.")
flags.DEFINE_integer("batch_size", 32, "Texts computed at a time.", lower_bound=1)
flags.DEFINE_string("input", "", "File to read: .txt (one text a line), .jsonl, .csv, .tsv, also .gz.")
flags.DEFINE_string(
    "output", "", "File to write: .jsonl; encode also .npz, tag .conll, answer .json. Without it, the screen."
)
flags.DEFINE_enum(
    "format", None, sorted(set(FORMATS.values())), "Of the input; by its suffix by default, lines for stdin."
)
flags.DEFINE_list("columns", None, "Names of all columns of a .csv or .tsv that does not begin with them.")
flags.DEFINE_string("text", None, "Field with the text; by default the one that the model was trained on.")
flags.DEFINE_string("text_b", None, "Field with the second text of a pair; the same.")
flags.DEFINE_list("choices", None, "choose: fields with the texts, or one with a list; the same.")
flags.DEFINE_bool("pairs", False, "The texts on the command line are pairs: a first one, a second one, ...")
flags.DEFINE_enum(
    "long",
    "cut",
    ["cut", "stride", "refuse"],
    "Texts longer than the model: cut as in training; read in overlapping windows, whose results are "
    "averaged; or rejected. tag and answer read windows, as in training.",
)
flags.DEFINE_integer("top_k", 5, "fill-mask: guesses per [MASK].", lower_bound=1)
flags.DEFINE_integer("held_out", 0, "fill-mask: this many held-out examples, no given texts.", lower_bound=0)
flags.DEFINE_bool("hf_mask_spacing", False, "fill-mask: a new word begins behind [MASK], as in transformers.")
flags.DEFINE_bool("per_position", False, "encode: a vector for each position, not for the text.")
flags.DEFINE_bool("no_answer", False, "answer: a question may have none.")


def main(argv: Sequence[str]) -> None:
    """Answers what is asked."""
    signals.install()
    flag = flags.FLAGS
    name, texts = "".join(argv[1:2]), list(argv[2:])
    _check(name, texts)

    from fnet_jax.inference import held_out
    from fnet_jax.inference.model import load
    from fnet_jax.runtime import compile_cache
    from fnet_jax.tools.predict import files as predict_files

    compile_cache.enable()
    model = load(flag.model, flag.step, flag.dtype, flag.batch_size, flag.tokenizer)
    command = COMMANDS[name]
    arguments: dict[str, Any] = {argument: flag[argument].value for argument in command.arguments}
    names = command.trained_on(model.config)
    if flag["text"].present:
        names = names._replace(text=flag.text)
    if flag["text_b"].present:
        names = names._replace(text_b=flag.text_b)
    if flag.choices:
        names = names._replace(choices=tuple(flag.choices))
    if flag.held_out:
        print(held_out.show(held_out.fill_held_out(model, flag.model, flag.held_out, flag.top_k)))
    elif flag.input or texts == ["-"]:
        form = _format()
        if form == "conll":
            names = names._replace(text="words")
        source = predict_files.Source(flag.input, form, flag.columns, model.config.data.word_column)
        predict_files.answer_file(model, name, arguments, names, source, flag.output)
    elif name == "fill-mask":
        answers = zip(texts, model.fill_mask(texts, **arguments), strict=True)
        print(held_out.show([held_out.Filled(text, "", best) for text, masks in answers for best in masks]))
    else:
        predict_files.answer_here(model, name, arguments, *_records(name, texts, names))


def _check(name: str, texts: Sequence[str]) -> None:
    """Refuses flags that do not go together, before anything is loaded.

    Raises:
        UserError: naming them.
    """
    flag = flags.FLAGS
    is_file = bool(flag.input) or texts == ["-"]
    if name not in COMMANDS:
        raise UserError(f"command {name!r} is unknown; valid: {', '.join(COMMANDS)}")
    if not flag.model:
        raise UserError("--model is not given; name a workdir of a run, or a folder with a model")
    for key in dict.fromkeys(key for command in COMMANDS.values() for key in command.flags):
        heeded_by = [other for other, command in COMMANDS.items() if key in command.flags]
        if flag[key].present and name not in heeded_by:
            raise UserError(f"--{key} has no effect on {name}; it is for {', '.join(heeded_by)}")
    for key in ("output", "format", "columns", "text"):
        if flag[key].present and not is_file:
            raise UserError(f"--{key} is for files; give --input=FILE, or - for stdin")
    if flag.pairs and is_file:
        raise UserError("--pairs is for texts on the command line; name the second text's field by --text_b")
    if sum((bool(texts), bool(flag.input), bool(flag.held_out))) != 1:
        raise UserError(
            f"{name} works on texts given after it, or - for stdin, or --input=FILE"
            f"{', or --held_out=N' * (name == 'fill-mask')}; give one of these"
        )
    for text in [] if is_file or name != "fill-mask" else texts:
        if MASK_TEXT not in text:
            raise UserError(f"text {text!r} has no {MASK_TEXT}; put it where a word is to be guessed")
    if is_file:
        _check_files(name)


def _check_files(name: str) -> None:
    flag = flags.FLAGS
    if flag.input and not os.path.isfile(flag.input):
        raise UserError(f"--input={flag.input} is no file")
    form = _format()
    if flag.columns is not None and form not in ("csv", "tsv"):
        raise UserError(f"--columns is for csv and tsv; the format of the input is {form}")
    readers = [other for other, command in COMMANDS.items() if command.form == form]
    if readers and name not in readers:
        raise UserError(f"--format={form} is for {readers[0]}; {name} does not read it")
    if flag["text"].present and readers:
        raise UserError(f"--text has no effect on {form}, whose fields have their names")
    if form == "squad" and not flag.input:
        raise UserError("--format=squad needs --input=FILE; a file of JSON is read as a whole")
    if flag.output:
        from fnet_jax.tools.predict.writers import check_output

        check_output(flag.output, flag.input, name)


def _format() -> Any:
    """What the input's name says; lines for stdin."""
    flag = flags.FLAGS
    suffix = os.path.splitext(flag.input.removesuffix(".gz"))[1] if flag.input else ".txt"
    if not flag.format and suffix not in FORMATS:
        raise UserError(f"--input={flag.input} has none of the suffixes {', '.join(FORMATS)}; give --format")
    return flag.format or FORMATS[suffix]


def _records(name: str, texts: Sequence[str], names: FieldNames) -> tuple[FieldNames, list[dict[str, Any]]]:
    """The texts of the command line as the fields of records, and names of these."""
    if name == "choose":
        fields = {names.text: texts[0], "choices": list(texts[1:])}
        return names._replace(choices=("choices",), text_b=""), [fields]
    if flags.FLAGS.pairs or COMMANDS[name].is_paired:
        if len(texts) % 2:
            raise UserError(f"{len(texts)} texts are no pairs; give a first and a second text for each")
        names = names._replace(text_b=names.text_b or "text_b")
        pairs = zip(texts[::2], texts[1::2], strict=True)
        return names, [{names.text: a, names.text_b: b} for a, b in pairs]
    return names._replace(text_b=""), [{names.text: text} for text in texts]


if __name__ == "__main__":
    cli.run(main, positional=True)
