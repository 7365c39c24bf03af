"""Three pairs scored by the checkpoint that ships, once by colbert-ai and once by xm.

Run `python -m benchmarks.parity.score_pairs colbert-ai` in colbert-ai's environment (README.md) and
`.venv/bin/python -m benchmarks.parity.score_pairs xm` in the project's; each prints its scores as JSON.
"""

import json
import sys
from pathlib import Path

CHECKPOINT = Path(__file__).resolve().parents[2] / "assets" / "xm-mini"
# (adapter of the query, query, adapter of the passage, passage)
PAIRS = (
    ("en_XX", "why are there tides?", "en_XX", "The moon pulls the sea, so most shores see two floods a day."),
    ("fr_XX", "comment les plantes stockent-elles l'énergie ?", "fr_XX", "Elles gardent le sucre sous forme d'amidon."),
    ("de_DE", "Wie entstehen Vulkane?", "en_XX", "Molten rock rises through the crust, and a volcano (a cone!) grows."),
)


def by_colbert() -> list[float]:
    """Score with colbert-ai; the adapter is set before each text, since it takes none as an argument."""
    from colbert.infra import ColBERTConfig
    from colbert.modeling.checkpoint import Checkpoint
    from colbert.modeling.colbert import colbert_score

    checkpoint = Checkpoint(str(CHECKPOINT), colbert_config=ColBERTConfig(checkpoint=str(CHECKPOINT)), verbose=0)
    scores = []
    for query_language, query, passage_language, passage in PAIRS:
        checkpoint.bert.set_default_language(query_language)
        query_vectors = checkpoint.queryFromText([query])
        checkpoint.bert.set_default_language(passage_language)
        passage_vectors = checkpoint.docFromText([passage], keep_dims=False)[0][None]
        mask = passage_vectors.new_ones((*passage_vectors.shape[:2], 1))
        scores.append(colbert_score(query_vectors, passage_vectors, mask).item())
    return scores


def by_xm() -> list[float]:
    """Score with xm in float32."""
    from xm.encoder import load_encoder
    from xm.maxsim import maxsim
    from xm.options import EncodeOptions
    from xm.types import LanguageGuess

    encoder = load_encoder(str(CHECKPOINT), options=EncodeOptions(exact=True))
    scores = []
    for query_language, query, passage_language, passage in PAIRS:
        query_vectors = encoder.encode_query(query, LanguageGuess(query_language, 1.0, "given")).vectors
        (found,) = encoder.encode_passages([passage], [LanguageGuess(passage_language, 1.0, "given")])
        scores.append(maxsim(query_vectors, found.vectors))
    return scores


if __name__ == "__main__":
    library = sys.argv[1]
    print(json.dumps({"library": library, "scores": by_colbert() if library == "colbert-ai" else by_xm()}))
