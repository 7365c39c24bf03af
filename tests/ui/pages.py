"""What the page's tests share: an encoder that can be made to wait, a small sample, examples, hostile texts."""

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tests.fakes import FakeEncoder
from xm import maxsim
from xm.figures import alignment as figure
from xm.languages import LANGUAGES
from xm.token_map import lay_out_by_pca
from xm.types import LanguageGuess, TokenEmbeddings
from xm.ui.first_screen import Example
from xm.ui.shared import SAMPLES

HOSTILE = (
    "<img src=x onerror=\"window.hacked = 'img'\">",
    "<script>window.hacked = 'script'</script>",
    "${7*6} ${window.hacked = 'template'}",
    "{{7*6}} {{#each value}}{{this}}{{/each}}",
    "\"quotes\" 'single' `back` </p></div><b>bold</b>",
    "javascript:window.hacked=1 &lt;b&gt; &amp; %3Cimg%3E",
)


class WaitingEncoder(FakeEncoder):
    """A fake encoder that stops before each passage while `hold` is set, so that a test can look in between."""

    def __init__(self, **options: object) -> None:
        super().__init__(languages=tuple(LANGUAGES), **options)
        self.go_on = threading.Event()
        self.go_on.set()
        self.reached = threading.Event()

    def hold(self) -> None:
        self.reached.clear()
        self.go_on.clear()

    def stream_passages(
        self, texts: Sequence[str], languages: Sequence[LanguageGuess]
    ) -> Iterator[tuple[int, TokenEmbeddings]]:
        for number, item in enumerate(super().stream_passages(texts, languages)):
            yield item
            if number == 1:
                self.reached.set()
                self.go_on.wait(30)


def quick_umap(vectors: np.ndarray, options: object) -> np.ndarray:
    """Stand in for UMAP, whose compilation takes longer than all tests here: PCA turned by a right angle."""
    return lay_out_by_pca(vectors)[:, ::-1]


def small_sample(folder: Path, *, n_topics: int = 3) -> Path:
    """Write the first topics of the parallel sample as a corpus of its own."""
    lines = (SAMPLES["parallel"] / "passages.jsonl").read_text(encoding="utf-8").splitlines()
    topics = list(dict.fromkeys(json.loads(line)["topic"] for line in lines))[:n_topics]
    kept = [line for line in lines if json.loads(line)["topic"] in topics]
    folder.mkdir(parents=True)
    (folder / "passages.jsonl").write_text("\n".join(kept), encoding="utf-8")
    return folder


def examples(encoder: FakeEncoder) -> tuple[Example, ...]:
    """Align two pairs as benchmarks/make_first_screen.py does."""
    pairs = (
        (
            "English → Português",
            "how do plants store energy?",
            "en_XX",
            "As plantas guardam energia como amido.",
            "pt_XX",
        ),
        ("English → العربية", "how do vaccines work?", "en_XX", "كيف تعمل اللقاحات في جسم الإنسان", "ar_AR"),
    )
    made = []
    for title, query, query_code, passage, passage_code in pairs:
        encoded = encoder.encode_query(query, LanguageGuess(query_code, 1.0, "detected", 0.9, "nl_XX"))
        other = encoder.encode_passages([passage], [LanguageGuess(passage_code, 1.0, "detected", 1.0)])[0]
        aligned = maxsim.align(encoded, other, model=encoder.model)
        made.append(Example(title, json.loads(json.dumps(figure.payload(aligned)))))
    return tuple(made)


def write_hostile_corpus(path: Path) -> Path:
    """Write a csv of texts that try to be HTML, templates, formulas, control characters or one endless word."""
    rows = [f"the green plant {number} grows; {text}" for number, text in enumerate(HOSTILE)]
    rows += ["the plant rings \x07 and \x1b[31m turns red \u202e backwards", "the plant is " + "x" * 50_000]
    lines = [json.dumps({"id": f"<b>id{number}</b>${{1+1}}", "text": text}) for number, text in enumerate(rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
