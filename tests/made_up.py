"""Small made-up data in the layout of the real ones."""

import csv
import json
import pathlib

import numpy as np

ANIMALS = ("dog", "cat", "horse", "sheep", "goat", "hen", "duck", "pig", "cow", "mouse")
TOOLS = ("hammer", "saw", "drill", "wrench", "file", "plane", "chisel", "clamp", "vice", "nail")


def things(rng: np.random.Generator) -> tuple[str, str, int]:
    """A sentence that names animals or tools, which of both, and how many."""
    label = str(rng.choice(["animal", "tool"]))
    words = rng.choice(ANIMALS if label == "animal" else TOOLS, rng.integers(1, 5))
    return f"I have a {' and a '.join(words)}", label, len(words)


def write_table(path: pathlib.Path, rows: int = 400) -> None:
    """A CSV file with the columns text, label, count."""
    rng = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "count"])
        writer.writerows(things(rng) for _ in range(rows))


def write_tags(path: pathlib.Path, sentences: int = 120) -> None:
    """Sentences with animals and tools, which are to be found, in CoNLL's columns; a tool has two words."""
    rng = np.random.default_rng(0)
    with open(path, "w") as file:
        for _ in range(sentences):
            rows = [
                ("I", "O"),
                ("have", "O"),
                ("a", "O"),
                (str(rng.choice(ANIMALS)), "B-ANIMAL"),
                ("and", "O"),
            ]
            rows += [("a", "O"), ("steel", "B-TOOL"), (str(rng.choice(TOOLS)), "I-TOOL"), (".", "O")]
            file.write("".join(f"{word} {tag}\n" for word, tag in rows[int(rng.integers(0, 3)) :]) + "\n")


def write_choices(path: pathlib.Path, rows: int = 120) -> None:
    """SWAG's columns: of four things, the animal is the one that eats."""
    rng = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sent1", "sent2", *(f"ending{k}" for k in range(4)), "label"])
        for _ in range(rows):
            label, endings = int(rng.integers(0, 4)), list(rng.choice(TOOLS, 4, replace=False))
            endings[label] = rng.choice(ANIMALS)
            writer.writerow([f"It is {rng.integers(1, 13)} o'clock.", "Now eats the", *endings, label])


def write_questions(path: pathlib.Path, contexts: int = 60, unanswerable: bool = True) -> None:
    """SQuAD's layout: which animal is in a sentence; some sentences have none."""
    rng = np.random.default_rng(0)
    data = []
    for number in range(contexts):
        animal, tool = str(rng.choice(ANIMALS)), str(rng.choice(TOOLS))
        has_answer = not unanswerable or number % 3 > 0
        context = f"On day {number} I took a {tool}" + (
            f" and saw a {animal}." if has_answer else " and went."
        )
        answers = [{"text": animal, "answer_start": context.index(animal)}] if has_answer else []
        question = {"id": f"q{number}", "question": "Which animal?", "answers": answers}
        data.append({"title": str(number), "paragraphs": [{"context": context, "qas": [question]}]})
    path.write_text(json.dumps({"version": "v2.0", "data": data}))


def write_glue(folder: pathlib.Path, train: int = 80, other: int = 20) -> None:
    """SST-2 (animal or tool), MRPC (both or not) and STS-B (how many), in GLUE's files."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("dev", other), ("test", other)):
        a, b = ([things(rng) for _ in range(count)] for _ in range(2))
        same = [int(x[1] == y[1]) for x, y in zip(a, b, strict=True)]
        score = [f"{min(x[2], 5):.3f}" for x in a]
        rows = range(count)
        if split == "test":
            _write(folder / "SST-2" / "test.tsv", ["index", "sentence"], [[i, a[i][0]] for i in rows])
            _write(
                folder / "MRPC" / "test.tsv",
                ["index", "#1 ID", "#2 ID", "#1 String", "#2 String"],
                [[i, 0, 0, a[i][0], b[i][0]] for i in rows],
            )
            _write(
                folder / "STS-B" / "test.tsv",
                ["index", "sentence1", "sentence2"],
                [[i, a[i][0], b[i][0]] for i in rows],
            )
            continue
        _write(
            folder / "SST-2" / f"{split}.tsv",
            ["sentence", "label"],
            [[a[i][0], int(a[i][1] == "tool")] for i in rows],
        )
        _write(
            folder / "MRPC" / f"{split}.tsv",
            ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
            [[same[i], 0, 0, a[i][0], b[i][0]] for i in rows],
        )
        _write(
            folder / "STS-B" / f"{split}.tsv",
            ["index", "sentence1", "sentence2", "score"],
            [[i, a[i][0], b[i][0], score[i]] for i in rows],
        )


def _write(path: pathlib.Path, header: list[str], rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in [header, *rows]))
