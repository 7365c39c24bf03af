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

QUERY = "Why does the moon pull the water of the sea?"
PASSAGES = {
    "es_XX": "La luna atrae el agua del mar con su gravedad, y así suben y bajan las mareas.",
    "fr_XX": "La lune attire l'eau de la mer par sa gravité, et ainsi montent et descendent les marées.",
    "de_DE": "Der Mond zieht mit seiner Schwerkraft das Wasser des Meeres an, so entstehen die Gezeiten.",
    "ru_RU": "Луна притягивает воду моря своей силой тяжести, и так возникают приливы.",
    "zh_CN": "月亮用引力吸引海里的水，于是有了潮汐。",
    "ja_XX": "月は重力で海の水を引き寄せ、潮の満ち引きが起こる。",
    "hi_IN": "चाँद अपने गुरुत्वाकर्षण से समुद्र का पानी खींचता है, इसी से ज्वार आता है।",
    "ar_AR": "يجذب القمر ماء البحر بجاذبيته، فيحدث المد والجزر.",
    "vi_VN": "Mặt trăng hút nước của biển bằng lực hấp dẫn, vì thế có thủy triều.",
    "id_ID": "Bulan menarik air laut dengan gravitasinya, sehingga terjadi pasang surut.",
    "ko_KR": "달은 중력으로 바다의 물을 끌어당겨 밀물과 썰물을 만든다.",
    "fi_FI": "Kuu vetää meren vettä painovoimallaan, ja siksi syntyy vuorovesi.",
    "sw_KE": "Mwezi huvuta maji ya bahari kwa mvuto wake, na hivyo maji hupanda na kushuka.",
}
SHOWN = ("moon", "pull", "water", "sea")


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
