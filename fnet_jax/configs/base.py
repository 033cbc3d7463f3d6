"""Every config key, declared once: its default and its meaning. Other configs only override.

Types and valid values of the same keys are in `fnet_jax/core/config.py`; a key that stands in one
file alone is an error. Names follow the original f_net where it has the key.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """The defaults: FNet-Base as published, on the embedded corpus."""
    c = ml_collections.ConfigDict()
    # pretrain (masked LM and next sentence), masked_lm, next_sentence; a GLUE task, ag_news, pydocs; for
    # files of your own classify, regress, tag (words), choose (one of several texts), answer (questions).
    c.task = "pretrain"
    c.seed = 0  # of parameters, dropout, and the whole sequence of examples
    # Workdir or checkpoint folder whose params start a new run; "": random. Tasks other than pretrain
    # take the encoder, the tokenizer and the shape of the model from there.
    c.init_from = ""

    c.model = ml_collections.ConfigDict()
    c.model.mixer = "fourier"  # fourier, hartley, dct, hadamard, linear, random, attention, ff_only
    # How fourier and hartley are computed: auto, fft, dft, folded, split, pallas; see docs/mixing.md.
    c.model.fourier_impl = "auto"
    c.model.num_attention_layers = 0  # layers whose mixer is replaced by attention (hybrid)
    c.model.attention_layout = "top"  # where these layers lie: bottom, middle, mixed, top
    c.model.num_layers = 12
    c.model.d_model = 768  # D
    c.model.d_emb = 768  # E; mapped to D by hidden_mapping_in
    c.model.d_ff = 3072  # F
    c.model.num_heads = 12  # H; attention layers only
    c.model.attention_impl = "xla"  # xla; cudnn: its fused kernel on NVIDIA GPUs, elsewhere as xla
    c.model.max_seq_length = 512  # L; also the length of every training and evaluation example
    c.model.type_vocab_size = 4
    c.model.vocab_size = 0  # V; 0: the number of pieces of the tokenizer
    c.model.dropout_rate = 0.1  # after embeddings and feed-forward
    c.model.mixing_dropout_rate = 0.1  # attention probabilities
    c.model.pooling = "first"  # first: the [CLS] position, as the original; mean: of all but the padding
    c.model.classifier_dropout_rate = 0.0  # on the classifier's input; the original has none
    c.model.num_outputs = 0  # C of the classifier; 0: the number of labels, 1 for regression, 2 for spans
    c.model.dtype = "float32"  # of the computation: float32, bfloat16; parameters stay float32
    c.model.remat = False  # recompute each layer in the backward pass: less memory, more time

    c.data = ml_collections.ConfigDict()
    c.data.corpus = "pydocs"  # pydocs, a file, folder or glob, tfds:NAME; see docs/data.md
    c.data.text_field = "text"  # field of JSONL, Parquet and TFDS records that holds the document
    c.data.tokenizer = ""  # SentencePiece .model file; "": train one on the corpus
    c.data.tokenizer_pieces = 32_000  # size of the vocabulary when one is trained
    c.data.tokenizer_algorithm = "bpe"  # bpe, unigram; when one is trained
    c.data.dir = ""  # prepared data set; prepared there if absent; "": WORKDIR/data
    c.data.holdout_fraction = 0.02  # share of documents kept for evaluation, by document hash
    c.data.next_sentence = "swap"  # swap: two halves of one document, swapped half the time; random: BERT
    c.data.max_predictions_per_seq = 80  # P
    c.data.masking_rate = 0.15  # share of tokens to predict
    c.data.mask_token_proportion = 0.8  # of these: replaced by [MASK]
    c.data.random_token_proportion = 0.1  # of these: replaced by a random piece; the rest is kept
    c.data.whole_word_masking = False  # choose words, not pieces
    c.data.num_workers = 0  # input processes per host; 0: threads of this one
    c.data.prefetch = 2  # batches ready on the devices ahead of the step
    # Labelled tasks. GLUE and AG News are read from the files in data.dir, or from TFDS (data.corpus).
    c.data.validation = ""  # file with the validation split of task classify or regress; "": held out
    c.data.test = ""  # file with the test split, labelled or not; "": none
    c.data.text_b_field = ""  # field of the second text of a pair; "": single texts
    c.data.label_field = "label"
    c.data.labels = ()  # names of the labels, in the order of their ids; (): those of the training split
    c.data.truncation = "longest_first"  # longest_first; tail: cut the end off, as the original
    c.data.swap_texts = False  # second text of a pair first; the original does so for MNLI
    c.data.word_column = 0  # of the lines of task tag, from 0
    c.data.tag_column = -1  # -1: the last one
    c.data.choice_fields = (
        "ending0",
        "ending1",
        "ending2",
        "ending3",
    )  # of task choose; one: a list in JSONL
    # Task answer: pieces of the question that are read, between the starts of neighbouring windows of a
    # context too long for one, and of an answer.
    c.data.max_query_length = 64
    c.data.doc_stride = 128
    c.data.max_answer_length = 30
    c.data.null_score_diff_threshold = 0.0  # how far "no answer" must outscore the best span; SQuAD 2
    c.data.max_train_examples = 0  # use only so many, chosen by seed; 0: all
    c.data.max_eval_examples = 0  # use only so many of each validation split, always the same; 0: all

    c.optim = ml_collections.ConfigDict()
    c.optim.learning_rate = 1e-4  # at the end of the warm-up
    c.optim.schedule = "linear"  # linear, cosine, rsqrt, constant: what follows the warm-up
    c.optim.num_warmup_steps = 10_000
    c.optim.warmup_proportion = 0.0  # of all steps, in place of num_warmup_steps; 0: off
    c.optim.adam_b1 = 0.9
    c.optim.adam_b2 = 0.999
    c.optim.adam_eps = 1e-6
    c.optim.weight_decay = 0.01
    c.optim.decay_mask = "all"  # all: every parameter, as the original; matrices: no bias, no LayerNorm
    c.optim.clipped_grad_norm = 0.0  # clip gradients to this global norm; 0: off
    c.optim.learning_rate_rules = ""  # factors by parameter path, "REGEX=FACTOR,..."; see train/optim.py

    c.train = ml_collections.ConfigDict()
    c.train.num_train_steps = 1_000_000
    c.train.num_train_epochs = 0.0  # in place of num_train_steps; 0: off
    c.train.train_batch_size = 256  # B, over all devices
    c.train.gradient_accum_steps = 1  # the batch is worked off in this many parts
    c.train.eval_batch_size = 256
    c.train.eval_frequency = 2_000  # steps between evaluations; 0: only at the end
    c.train.eval_proportion = 0.0  # of all steps, in place of eval_frequency; 0: off
    c.train.max_num_eval_steps = 100  # batches per evaluation; 0: the whole held-out split
    c.train.save_checkpoints_steps = 2_000
    c.train.max_to_keep = 3  # checkpoints
    c.train.keep_best = False  # save at every evaluation, and keep the checkpoint with the best score
    c.train.early_stop_evals = 0  # stop after so many evaluations without a better score; 0: never
    c.train.log_frequency = 100  # steps between lines of metrics
    c.train.on_nan = "stop"  # a loss or gradient that is no finite number: stop; skip: leave that update out
    c.train.max_skipped_steps = 10  # so many in a row stop the run all the same

    c.mesh = ml_collections.ConfigDict()
    # Devices along each axis; -1, for one of them: all that are left. See docs/pods.md.
    c.mesh.data = -1  # the batch
    c.mesh.fsdp = 1  # the batch, and the parameters with their gradients and optimizer moments
    c.mesh.seq = 1  # positions
    c.mesh.tensor = 1  # hidden units, attention heads, pieces of the vocabulary

    c.log = ml_collections.ConfigDict()
    c.log.wandb_project = ""  # Weights & Biases project; "": off (needs `pip install wandb`)
    c.log.profile_start = 0  # first step of a profiler window; 0: off
    c.log.profile_steps = 5  # its length; the trace goes to WORKDIR/profile
    c.log.example_ids = False  # write down which examples each step was trained on, in WORKDIR/example_ids
    return c
