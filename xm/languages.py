"""The 81 language adapters of X-MOD, and which of them a text belongs to: by its script first, then by langdetect.

langdetect's profiles (how often 1- to 3-character strings occur in 55 languages) are summed here over the whole text,
where its own `detect` samples at random and stops early. So nothing needs a seed or races, a prior stays a prior
instead of a fence, and probabilities mean something: on short queries they average 0.96 where 0.94 are right.
Leaves out: mixed-language texts (one adapter a text) and which adapters a checkpoint really has (xm.encoder).
"""

import difflib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from langdetect.detector import Detector
from langdetect.detector_factory import PROFILES_DIRECTORY
from langdetect.utils.ngram import NGram

from xm.errors import LanguageError
from xm.scripts import EAST_ASIAN, detect_east_asian, even_guess, main_script, only_script
from xm.types import LanguageGuess

# XMOD's order (fairseq, examples/xmod; the same in the checkpoint's config): code, script, English name, native name.
_TABLE = """\
en_XX Latin English=English; id_ID Latin Indonesian=Bahasa Indonesia; vi_VN Latin Vietnamese=Tiếng Việt
ru_RU Cyrillic Russian=Русский; fa_IR Arabic Persian=فارسی; sv_SE Latin Swedish=Svenska
ja_XX Japanese Japanese=日本語; fr_XX Latin French=Français; de_DE Latin German=Deutsch; ro_RO Latin Romanian=Română
ko_KR Hangul Korean=한국어; hu_HU Latin Hungarian=Magyar; es_XX Latin Spanish=Español; fi_FI Latin Finnish=Suomi
uk_UA Cyrillic Ukrainian=Українська; da_DK Latin Danish=Dansk; pt_XX Latin Portuguese=Português
no_XX Latin Norwegian=Norsk; th_TH Thai Thai=ไทย; pl_PL Latin Polish=Polski; bg_BG Cyrillic Bulgarian=Български
nl_XX Latin Dutch=Nederlands; zh_CN Han Chinese (simplified)=简体中文; he_IL Hebrew Hebrew=עברית
el_GR Greek Greek=Ελληνικά; it_IT Latin Italian=Italiano; sk_SK Latin Slovak=Slovenčina
hr_HR Latin Croatian=Hrvatski; tr_TR Latin Turkish=Türkçe; ar_AR Arabic Arabic=العربية; cs_CZ Latin Czech=Čeština
lt_LT Latin Lithuanian=Lietuvių; hi_IN Devanagari Hindi=हिन्दी; zh_TW Han Chinese (traditional)=繁體中文
ca_ES Latin Catalan=Català; ms_MY Latin Malay=Bahasa Melayu; sl_SI Latin Slovenian=Slovenščina
lv_LV Latin Latvian=Latviešu; ta_IN Tamil Tamil=தமிழ்; bn_IN Bengali Bengali=বাংলা; et_EE Latin Estonian=Eesti
az_AZ Latin Azerbaijani=Azərbaycanca; sq_AL Latin Albanian=Shqip; sr_RS Cyrillic Serbian=Српски
kk_KZ Cyrillic Kazakh=Қазақша; ka_GE Georgian Georgian=ქართული; tl_XX Latin Tagalog=Tagalog; ur_PK Arabic Urdu=اردو
is_IS Latin Icelandic=Íslenska; hy_AM Armenian Armenian=Հայերեն; ml_IN Malayalam Malayalam=മലയാളം
mk_MK Cyrillic Macedonian=Македонски; be_BY Cyrillic Belarusian=Беларуская; la_VA Latin Latin=Latina
te_IN Telugu Telugu=తెలుగు; eu_ES Latin Basque=Euskara; gl_ES Latin Galician=Galego; mn_MN Cyrillic Mongolian=Монгол
kn_IN Kannada Kannada=ಕನ್ನಡ; ne_NP Devanagari Nepali=नेपाली; sw_KE Latin Swahili=Kiswahili
si_LK Sinhala Sinhala=සිංහල; mr_IN Devanagari Marathi=मराठी; af_ZA Latin Afrikaans=Afrikaans
gu_IN Gujarati Gujarati=ગુજરાતી; cy_GB Latin Welsh=Cymraeg; eo_EO Latin Esperanto=Esperanto; km_KH Khmer Khmer=ខ្មែរ
ky_KG Cyrillic Kyrgyz=Кыргызча; uz_UZ Latin Uzbek=Oʻzbekcha; ps_AF Arabic Pashto=پښتو; pa_IN Gurmukhi Punjabi=ਪੰਜਾਬੀ
ga_IE Latin Irish=Gaeilge; ha_NG Latin Hausa=Hausa; am_ET Ethiopic Amharic=አማርኛ; lo_LA Lao Lao=ລາວ
ku_TR Latin Kurdish=Kurdî; so_SO Latin Somali=Soomaali; my_MM Myanmar Burmese=မြန်မာ; or_IN Oriya Odia=ଓଡ଼ିଆ
sa_IN Devanagari Sanskrit=संस्कृतम्"""

# Languages without a profile, and what their texts are taken for (stack-facts, section 5; late-interaction-facts, 1.9).
_TAKEN_FOR = {
    "ms_MY": ("id_ID",),
    "gl_ES": ("pt_XX", "es_XX"),
    "az_AZ": ("tr_TR",),
    "is_IS": ("cs_CZ", "no_XX", "da_DK", "sv_SE"),
}
# The profiles know Han characters and Hangul singly, hardly ever in strings.
_HAN_STRING = re.compile(" ?[\u3400-\u9fff\uac00-\ud7a3]{1,3} ?(?<=..)")
_HAN_INSIDE_WORD = re.compile("(?<=[a-z])[\u3400-\u9fff](?=[a-z])")  # an accented letter read in a Chinese encoding
_N_ORDINARY = 10  # strings that one such place outweighs
_SAMPLE_CHARS = 20_000  # as good as the whole of a long text
_UNSEEN = 2e-5  # frequency of a string a profile lacks; flat between 5e-6 and 1e-4 on the sample corpus's queries
_LOG_UNSEEN = float(np.log(_UNSEEN))
_ORDERS = 3  # every character is counted in strings of 1, 2 and 3: a third of the sum is the evidence of one reading
# A language of the prior counts e^5 = 150 times more. On the sample corpus's queries a larger value gained nothing
# for languages in the prior and lost queries in other languages.
_PRIOR_LOG_ODDS = 5.0


@dataclass(frozen=True)
class Language:
    """One language adapter.

    detectable: langdetect has a profile of it (55 of 81). by_script: no other of the 81 is written in its script, so
    it is recognised with or without a profile. What is neither has to be chosen by hand.
    """

    code: str
    iso: str
    name: str
    native_name: str
    script: str
    detectable: bool
    by_script: bool
    rtl: bool


def _entries() -> list[list[str]]:
    """Split the table into [code, script, names]."""
    return [entry.strip().split(" ", 2) for entry in _TABLE.replace("\n", ";").split(";")]


def _read_profiles() -> tuple[dict[str, int], dict[str, int], np.ndarray]:
    """Read langdetect's profiles: row of each string, column of each XMOD code, (n_strings, n_codes) log frequency."""
    code_of = {key: code for code, *_ in reversed(_entries()) for key in (code.lower(), code[:2])}
    rows: dict[str, int] = {}
    columns: dict[str, int] = {}
    cells = []
    for path in sorted(Path(PROFILES_DIRECTORY).iterdir()):
        profile = json.loads(path.read_text("utf-8"))
        counts = {string: count for string, count in profile["freq"].items() if len(string) <= _ORDERS}
        ids = np.array([rows.setdefault(string, len(rows)) for string in counts])
        frequency = [count / profile["n_words"][len(string) - 1] for string, count in counts.items()]
        cells.append((ids, np.log(np.array(frequency, dtype=np.float32) + np.float32(_UNSEEN))))
        columns[code_of[path.name.replace("-", "_")]] = len(columns)
    log_frequency = np.full((len(rows), len(columns)), _LOG_UNSEEN, dtype=np.float32)
    for column, (ids, values) in enumerate(cells):
        log_frequency[ids, column] = values
    return rows, columns, log_frequency


# Read once, while the module is imported: Python's import lock makes threads wait for it.
_ROWS, _COLUMNS, _LOG_FREQUENCY = _read_profiles()


def _read_table() -> dict[str, Language]:
    """Turn the table into records; the rest of each record follows from the code, the script and the profiles."""
    n_languages = Counter(script for _, script, _ in _entries())
    languages = {}
    for code, script, names in _entries():
        name, native_name = names.split("=")
        languages[code] = Language(
            code=code,
            iso=code.split("_")[0],
            name=name,
            native_name=native_name,
            script=script,
            detectable=code in _COLUMNS,
            by_script=n_languages[script] == 1,
            rtl=script in ("Arabic", "Hebrew"),
        )
    return languages


LANGUAGES: dict[str, Language] = _read_table()
_CODE_BY_SPELLING = {key: code for code in reversed(LANGUAGES) for key in (code.casefold(), LANGUAGES[code].iso)}
_CODE_OF_SCRIPT = {language.script: code for code, language in LANGUAGES.items() if language.by_script}


def find_code(text: str) -> str:
    """Return the XMOD code meant by a code (`de_DE`, `zh-cn`) or ISO 639-1 code (`de`; `zh` is `zh_CN`).

    Raises:
        LanguageError: it is neither; the message lists codes whose code or name is near.
    """
    wanted = text.strip().casefold().replace("-", "_")
    if wanted in _CODE_BY_SPELLING:
        return _CODE_BY_SPELLING[wanted]
    near: dict[str, str] = {}
    for code, language in LANGUAGES.items():
        for spelling in (code, language.iso, language.name, language.native_name, code[3:].replace("XX", "")):
            near.setdefault(spelling.casefold(), code)
    near.pop("", None)
    matches = [key for key in (wanted, wanted.split("_")[0]) if key and key in near]
    matches = matches or difflib.get_close_matches(wanted, near, n=4)
    codes = dict.fromkeys(near[match] for match in matches)
    listed = ", ".join(f"{code} ({LANGUAGES[code].name})" for code in codes)
    hint = f"near matches: {listed}" if listed else "nothing is near it"
    raise LanguageError(
        f"unknown language {text.strip()[:40]!r}; {hint}; "
        "give one of the 81 codes, such as de_DE or de (`xm languages` lists them)"
    )


def choose(text: str, language: str, *, prior: Sequence[str] = ()) -> LanguageGuess:
    """Take the language as given, or detect it if it says `auto`. Raises LanguageError as the two do."""
    if language.strip().casefold() == "auto":
        return detect(text, prior=prior)
    return LanguageGuess(find_code(language), 1.0, "given")


def detect(text: str, *, prior: Sequence[str] = ()) -> LanguageGuess:
    """Guess the language of a text.

    Args:
        text: judged on at most 20,000 characters, in slices spread over it.
        prior: XMOD codes to expect, such as an index's languages. They are favoured; clear evidence outweighs them.

    Returns:
        The guess. Its source is `inherited` where the text alone shows no language or another one and the prior
        settled it; probability and margin then include the prior. A script of one language has probability 1.

    Raises:
        LanguageError: the text shows no language and there is no prior, or the prior names an unknown code.
    """
    prior = tuple(dict.fromkeys(find_code(code) for code in prior))
    text = Detector.MAIL_RE.sub(" ", Detector.URL_RE.sub(" ", _sample(text)))
    script = main_script(text)
    if script == EAST_ASIAN:
        return detect_east_asian(text, prior)
    if script in _CODE_OF_SCRIPT:
        return LanguageGuess(_CODE_OF_SCRIPT[script], 1.0, "detected")
    guess = _detect_by_profile(text, script, prior) if script else None
    if guess:
        return guess
    if prior:
        return even_guess(prior, "inherited")
    came = " ".join(text.split())[:40]
    raise LanguageError(
        f"no language can be read from {came!r}: it has no words in a script that the 81 adapters cover; "
        "choose the language by hand"
    )


def fit(text: str) -> float:
    """Say how much a text looks like some language: mean log frequency of its strings, higher is better, at most 0."""
    text = text[:_SAMPLE_CHARS]
    strings = [string for string in _strings(text) if not _HAN_STRING.fullmatch(string)]
    rows = [_ROWS[string] for string in strings if string in _ROWS]
    n_unseen = len(strings) - len(rows) + _N_ORDINARY * len(_HAN_INSIDE_WORD.findall(text))
    if not rows:
        return _LOG_UNSEEN
    best = _LOG_FREQUENCY[rows].sum(axis=0, dtype=np.float64).max()
    return float((best + n_unseen * _LOG_UNSEEN) / (len(rows) + n_unseen))


def _sample(text: str) -> str:
    """Return the text, or ten slices spread evenly over a long one."""
    if len(text) <= _SAMPLE_CHARS:
        return text
    step, size = len(text) // 10, _SAMPLE_CHARS // 10
    return " ".join(text[start * step : start * step + size] for start in range(10))


def _strings(text: str) -> list[str]:
    """List the 1- to 3-character strings of a text's words as langdetect's profiles count them, edges as a space."""
    if text.isupper():
        text = text.lower()
    strings = []
    for word in "".join(map(_normalized, NGram.normalize_vi(text))).split():
        if len(word) > 1 and word.isupper():
            continue  # acronyms say nothing about a language; the profiles leave them out too
        padded = f" {word} "
        strings += [padded[i : i + n] for n in range(1, _ORDERS + 1) for i in range(len(padded) - n + 1)]
    return [string for string in strings if string != " "]


@lru_cache(maxsize=65_536)
def _normalized(character: str) -> str:
    """Map a character as the profiles were made; Hangul stays, as its profile, unlike langdetect, has each syllable."""
    return character if "가" <= character <= "힣" else NGram.normalize(character)


def _detect_by_profile(text: str, script: str, prior: tuple[str, ...]) -> LanguageGuess | None:
    """Compare the languages of one script by Bayes' rule; None where no profile knows any string of the text."""
    rows = [_ROWS[string] for string in _strings(only_script(text, script)) if string in _ROWS]
    if not rows:
        return None
    totals = _LOG_FREQUENCY[rows].sum(axis=0, dtype=np.float64) / _ORDERS
    scores = {code: float(totals[column]) for code, column in _COLUMNS.items() if LANGUAGES[code].script == script}
    shown = max(scores, key=scores.__getitem__)  # by the text alone
    for code in prior:
        if not LANGUAGES[code].detectable and LANGUAGES[code].script == script:
            relatives = _TAKEN_FOR.get(code, () if script == "Latin" else tuple(scores))
            if relatives:
                scores[code] = max(scores[relative] for relative in relatives)
    scores = {code: score + _PRIOR_LOG_ODDS * (code in prior) for code, score in scores.items()}
    weights = np.exp(np.array(list(scores.values())) - max(scores.values()))
    ranked = sorted(zip(weights / weights.sum(), scores, strict=True), key=lambda pair: -pair[0])
    (probability, code), (next_probability, runner_up) = ranked[:2]
    source = "detected" if code == shown else "inherited"
    return LanguageGuess(code, float(probability), source, float(probability - next_probability), runner_up)
