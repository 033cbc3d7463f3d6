"""Uses a trained model: python -m fnet_jax.tools.predict COMMAND --model=DIR [TEXT ... | -] [--input=FILE].

    fill-mask      the best pieces for each [MASK]; with --held_out=N, of N held-out examples of the run
    classify       the class of a text or pair with all probabilities, or a number
    encode         the vector of a text or pair
    next-sentence  the probability that the second text of a pair follows the first one

Texts stand on the command line, come from stdin (-), one a line, or from --input. Answers go to --output, or
to the screen. docs/predict.md shows what each prints.
"""

from absl import flags

flags.DEFINE_string("model", None, "Workdir of a run, or a folder with a model: ours or Hugging Face's.")
flags.DEFINE_integer("step", None, "Step of the run's checkpoint; the best one by default, or the newest.")
flags.DEFINE_enum("dtype", None, ["float32", "bfloat16"], "Of the computation; as in training by default.")
flags.DEFINE_integer("batch_size", 32, "Texts worked off at a time.", lower_bound=1)
flags.DEFINE_string("input", "", "File to read: .txt (one text a line), .jsonl, .csv or .tsv, also .gz.")
flags.DEFINE_string("output", "", "File to write: .jsonl; encode also .npz. Without it, the screen.")
flags.DEFINE_enum("format", None, ["lines", "jsonl", "csv", "tsv"], "Of the input; by its suffix by default.")
flags.DEFINE_list("columns", None, "Names of all columns of a .csv or .tsv that has no line with them.")
flags.DEFINE_string("text", None, "Field with the text; by default the one that the model was trained on.")
flags.DEFINE_string("text_b", None, "Field with the second text of a pair; the same.")
flags.DEFINE_bool("pairs", False, "The texts on the command line are pairs: the first and second one, ...")
flags.DEFINE_enum(
    "long", "cut", ["cut", "stride", "refuse"],
    "What becomes of texts that are longer than the model: cut as in training, read in overlapping windows "
    "whose results are averaged, or rejected.",
)  # fmt: skip
flags.DEFINE_integer("top_k", 5, "fill-mask: guesses per [MASK].", lower_bound=1)
flags.DEFINE_integer("held_out", 0, "fill-mask: this many held-out examples, not given texts.", lower_bound=0)
flags.DEFINE_bool("per_position", False, "encode: a vector for each position, not for the text.")
