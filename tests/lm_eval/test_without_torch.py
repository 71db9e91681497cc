"""The n-gram judges work where neither PyTorch is nor most of what training needs: see docs/install.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
for name in ("torch", "datasets", "sentencepiece", "kenlm", "sacrebleu", "safetensors", "jinja2", "aiohttp", "fsspec"):
    sys.modules[name] = None  # importing it fails as if it were absent
import lm_eval
from lebm_text.cli.main import main
real, samples = ["the cat sees a dog .", "a dog likes the cat ."] * 50, ["the dog sees a cat ."] * 50
forward = lm_eval.fppl(samples, real, judge="kn3")
reverse = lm_eval.rppl(samples, real[:10], judge="kn3", vocabulary=lm_eval.closed_vocabulary(real))
assert forward.ppl > 1 and reverse.ppl > 1
lm_eval.NgramModel.train(real, order=3).save("library.arpa")
with open("train.txt", "w") as file:
    file.write("\\n".join(real) + "\\n")
assert main(["ngram", "train", "train.txt", "-o", "command.arpa", "--order", "3"]) == 0
assert open("library.arpa").read() == open("command.arpa").read()
"""


def test_ngram_judges_need_no_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{PROGRAM}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
