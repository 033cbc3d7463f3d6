"""docs/library.md: every block of code runs, and prints what stands under it."""

import json
import re

from fnet_jax.bridge import portable
from fnet_jax.configs import pretrain
from tests.bridge.made import made
from tests.conftest import REPOSITORY, run
from tests.inference.answering import tokenizer_path

BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
# In a process of its own, since tests set stricter options of JAX than a reader has.
SCRIPT = """
import contextlib, io, json, os, sys
sys.path.insert(0, os.getcwd())
os.chdir(sys.argv[2])
names, printed = {}, []
for number, code in enumerate(json.loads(sys.argv[1])):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, f"block {number}", "exec"), names)
    printed.append(out.getvalue())
print(json.dumps(printed))
"""


def test_the_page_does_what_it_says(tmp_path):
    """With a model of the shape of `make demo`, its parameters random."""
    shape = pretrain.get_config("size=tiny").model.to_dict() | {"vocab_size": 80}
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    portable.write(made("pretrain", tokenizer=tokenizer_path(), **shape), str(tmp_path / "runs" / "demo"))
    page = (REPOSITORY / "docs" / "library.md").read_text()
    blocks = BLOCK.findall(page)
    assert page.count("```") == 2 * sum(1 + bool(text) for _, text in blocks)
    done = run("python", "-c", SCRIPT, json.dumps([code for code, _ in blocks]), str(tmp_path))
    assert done.returncode == 0, done.stderr
    for (code, expected), printed in zip(blocks, json.loads(done.stdout), strict=True):
        assert printed == expected, code
