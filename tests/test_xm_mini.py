"""The checkpoint that ships: what its card promises, and that the first screen was computed with it."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from xm.encoder import Encoder, inspect_checkpoint, load_encoder
from xm.languages import find_code
from xm.maxsim import align
from xm.options import EncodeOptions
from xm.search import align_texts
from xm.types import LanguageGuess

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = "en es fr it pt id de ru zh ja nl vi hi ar ko fi th fa tr bn pl el ro sw te".split()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("xm-mini", options=EncodeOptions(exact=True))


def test_it_is_what_its_card_says() -> None:
    facts = inspect_checkpoint("xm-mini")
    assert facts.layout == "Stanford"
    assert (facts.dim, facts.n_layers, facts.hidden, facts.vocab_size) == (128, 4, 384, 56_000)
    assert facts.dims == (128, 64, 32)
    assert set(facts.languages) == {find_code(language) for language in LANGUAGES}
    assert sum(path.stat().st_size for path in (ROOT / "assets" / "xm-mini").iterdir()) <= 64_000_000


def test_the_first_screen_shows_what_this_checkpoint_computes(encoder: Encoder) -> None:
    """A first screen left over from another checkpoint would show numbers that nobody can get again."""
    for example in json.loads((ROOT / "assets" / "first_screen.json").read_text(encoding="utf-8"))["examples"]:
        payload = example["payload"]
        texts = [payload[side]["text"] for side in ("query", "passage")]
        query, passage = (
            LanguageGuess(payload[side]["adapter"]["code"], 1.0, "given") for side in ("query", "passage")
        )
        aligned = align(encoder.encode_query(texts[0], query), encoder.encode_passages([texts[1]], [passage])[0])
        shown = np.frombuffer(base64.b64decode(payload["similarity"]["float32"]), dtype="<f4")
        assert np.allclose(shown, aligned.similarity.ravel(), atol=1e-4), example["title"]
        assert payload["score"] == pytest.approx(aligned.score, abs=1e-3)


@pytest.mark.parametrize(
    ("query", "code", "word", "passage", "passage_code", "partner"),
    [
        ("plants", "en_XX", "plants", "A água alimenta as plantas no verão.", "pt_XX", "plantas"),
        ("the water", "en_XX", "water", "Le poisson nage dans l'eau froide.", "fr_XX", "eau"),
        ("the moon", "en_XX", "moon", "La luna brilla de noche.", "es_XX", "luna"),
        ("blood", "en_XX", "blood", "心臓は血を送る。", "ja_XX", "血"),
    ],
)
def test_a_word_finds_its_translation(encoder, query, code, word, passage, passage_code, partner) -> None:
    embeddings = encoder.encode_passages([passage], [LanguageGuess(passage_code, 1.0, "given")])[0]
    aligned = align(encoder.encode_query(query, LanguageGuess(code, 1.0, "given")), embeddings)
    row = next(w.token_ids[0] for w in aligned.query_words if w.text == word)
    start, end = embeddings.offsets[aligned.best[row]]
    assert passage[start:end] and passage[start:end] in partner


def test_a_short_query_is_not_read_as_a_language_it_has_no_adapter_for() -> None:
    """Alone, "plants store energy" reads like Norwegian."""
    aligned = align_texts("plants store energy", "Les plantes stockent l'énergie sous forme d'amidon.")
    assert (aligned.query.language.code, aligned.passage.language.code) == ("en_XX", "fr_XX")
