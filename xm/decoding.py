"""Bytes of a file into text: Unicode as it says, else the old encoding in which it looks most like a language.

Leaves out: what the text means (xm.readers) and how much it looks like a language (xm.languages, given as a function).
"""

import re
from collections.abc import Callable

from xm.errors import CorpusError

_MAGIC = {
    b"PK\x03\x04": "a zip archive (as Word, Excel and OpenDocument files are)",
    b"%PDF": "a PDF",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"\x1f\x8b": "a gzip archive",
    b"PAR1": "a Parquet file",
    b"SQLite format 3": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Word or Excel file",
}
# UTF-32 first: its little-endian mark begins with UTF-16's.
_BYTE_ORDER_MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
# What files that are not Unicode are written in, by region; several byte values mean a character only in some.
LEGACY_ENCODINGS = (
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874"),
    *("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"),
)
# Texts of the sample corpus in 8 old encodings fit at -8.9 and better, random bytes at -9.6 and worse.
_POOREST_FIT = -9.3


def decode(data: bytes, *, name: str, fit: Callable[[str], float]) -> tuple[str, list[str]]:
    """Turn a file's bytes into text: Unicode as it says, else the legacy encoding whose text reads best, with a note.

    Raises:
        CorpusError: the bytes are not text, or UTF-8 with damaged places, or text in no encoding known here.
    """
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            raise CorpusError(f"{name} is {kind}, not text; save its text as UTF-8 text")
    marked = next((encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), None)
    if marked is None and b"\0" in data:
        raise CorpusError(
            f"{name} holds zero bytes (the first is byte {data.index(0)}): a binary file, or UTF-16 without its mark; "
            "save it as UTF-8 text"
        )
    try:
        return data.decode(marked or "utf-8"), []
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        broken = f"line {line} (byte {error.start})"
        text = data.decode(marked or "utf-8", "replace")
    n_damaged = text.count("\ufffd")
    n_sound = sum(character > "\x7f" for character in text) - n_damaged
    if marked or n_sound > n_damaged:
        raise CorpusError(f"{name} is {marked or 'utf-8'} text that is damaged at {broken}; save it again as UTF-8")
    return _decode_legacy(data, name=name, broken=broken, fit=fit)


def _decode_legacy(data: bytes, *, name: str, broken: str, fit: Callable[[str], float]) -> tuple[str, list[str]]:
    """Read the lines with bytes beyond ASCII in each legacy encoding and take the one that looks most like a text."""
    # cp1252 is by far the most frequent: where the others read as well, a single accented letter decides nothing.
    telling = b"\n".join(line for line in data.splitlines() if not line.isascii())[:20_000]
    scores = {}
    for encoding in LEGACY_ENCODINGS:
        try:
            data.decode(encoding)
        except UnicodeDecodeError:
            continue
        sample = telling.decode(encoding, "ignore")
        if not re.search(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]", sample):
            scores[encoding] = fit(sample) + 0.1 * (encoding == "cp1252")
    encoding = max(scores, key=scores.__getitem__, default=None)
    if encoding is None or scores[encoding] < _POOREST_FIT:
        raise CorpusError(f"{name} is not UTF-8 ({broken}) and reads as text in no other encoding; save it as UTF-8")
    return data.decode(encoding), [
        f"{name} is not UTF-8 ({broken}); read as {encoding}, in which it looks most like a language. "
        "Check the letters with accents, or save the file as UTF-8"
    ]
