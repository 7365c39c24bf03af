"""Show what a checkpoint aligns, as the Markdown table of its card: `python -m benchmarks.xm_mini.alignments [MODEL]`.

English queries meet a passage in another language. For each query word: the passage word that its highest-scoring
token chose, and the cosine. Words that went wrong are shown like the others; which ones did is for the reader to say.
"""

import argparse

import numpy as np

from xm import maxsim
from xm.encoder import Encoder, load_encoder
from xm.languages import LANGUAGES
from xm.types import Alignment, LanguageGuess, Word

QUERY = "The doctor gives medicine to the child in the hospital."
PASSAGES = {
    "es_XX": "El médico da una medicina al niño en el hospital.",
    "fr_XX": "Le médecin donne un médicament à l'enfant à l'hôpital.",
    "de_DE": "Der Arzt gibt dem Kind im Krankenhaus eine Medizin.",
    "ru_RU": "Врач даёт ребёнку лекарство в больнице.",
    "zh_CN": "医生在医院给孩子药。",
    "ja_XX": "医者は病院で子供に薬を与える。",
    "hi_IN": "डॉक्टर अस्पताल में बच्चे को दवा देता है।",
    "ar_AR": "يعطي الطبيب الدواء للطفل في المستشفى.",
    "vi_VN": "Bác sĩ cho đứa trẻ uống thuốc trong bệnh viện.",
    "id_ID": "Dokter memberi obat kepada anak di rumah sakit.",
    "ko_KR": "의사는 병원에서 아이에게 약을 준다.",
    "fi_FI": "Lääkäri antaa lapselle lääkettä sairaalassa.",
    "sw_KE": "Daktari anampa mtoto dawa hospitalini.",
}
SHOWN = ("doctor", "medicine", "child", "hospital")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="xm-mini")
    encoder = load_encoder(parser.parse_args().model)
    print("| passage in | " + " | ".join(SHOWN) + " |")
    print("|---" * (len(SHOWN) + 1) + "|")
    for code, passage in PASSAGES.items():
        if code in encoder.languages:
            cells = found(align(encoder, passage, code))
            print(f"| {LANGUAGES[code].name} | " + " | ".join(cells[word] for word in SHOWN) + " |")


def align(encoder: Encoder, passage: str, code: str) -> Alignment:
    """Align the query with a passage."""
    query = encoder.encode_query(QUERY, LanguageGuess("en_XX", 1.0, "given"))
    return maxsim.align(query, encoder.encode_passages([passage], [LanguageGuess(code, 1.0, "given")])[0])


def found(aligned: Alignment) -> dict[str, str]:
    """Say for each query word which passage word it found, and how near that is."""
    cells = {}
    for word in aligned.query_words:
        rows = np.array(word.token_ids)
        row = rows[aligned.contribution[rows].argmax()]
        cells[word.text] = f"{_holding(aligned, int(aligned.best[row]))} {aligned.contribution[row]:.2f}"
    return cells


def _holding(aligned: Alignment, token: int) -> str:
    """Return the passage word a token belongs to; of text without spaces, the token alone."""
    holder: Word = next(word for word in aligned.passage_words if token in word.token_ids)
    return holder.text


if __name__ == "__main__":
    main()
