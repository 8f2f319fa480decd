"""Which language a text is in, from its script and its commonest words.

The one decision here: say nothing rather than guess. A short question often holds one or two
telling words; when they are missing, or point two ways, the language is `None`.
"""

import re
from collections import Counter
from typing import Final

__all__ = ["LANGUAGES", "language"]

_MOST_CHARACTERS = 2_000
"""Read at most this much: the signal must stay cheap on a long document."""


def language(text: str) -> str | None:
    """Return the ISO 639-1 code of the language of `text`, or `None` when it is not clear.

    Parameters
    ----------
    text : str
        Running text; its first 2,000 characters are read.

    Returns
    -------
    str or None
        One of `LANGUAGES`. Languages that share a script with a known one and use none of its
        telling words are `None`.

    Examples
    --------
    >>> language("Wie heißt die Hauptstadt von Frankreich?")
    'de'
    >>> language("フランスの首都はどこですか")
    'ja'
    >>> language("42 + 17") is None
    True
    """
    text = text[:_MOST_CHARACTERS].lower()
    scripts = Counter({name: len(found.findall(text)) for name, found in _SCRIPTS.items()})
    script, letters = scripts.most_common(1)[0]
    if letters == 0:
        return None
    if script in ("han", "kana"):
        return "ja" if scripts["kana"] * 10 >= scripts["han"] else "zh"
    if script in _ONE_LANGUAGE:
        return _ONE_LANGUAGE[script]
    return _by_words(text)


def _by_words(text: str) -> str | None:
    """Weigh the telling words and letters.

    A word of two languages counts half for each, and a word of one letter a quarter: it may be a
    variable or an initial.
    """
    scores: Counter[str] = Counter()
    for word in _WORD.findall(text):
        owners = _WORDS.get(word, ())
        for code in owners:
            scores[code] += (60 if len(word) > 1 else 15) // len(owners)
    for code, letters in _LETTERS.items():
        scores[code] += 60 * sum(text.count(letter) for letter in letters)
    ranked = scores.most_common(2)
    if not ranked or ranked[0][1] < _LEAST_SCORE:
        return None
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        return None
    return ranked[0][0]


_WORD = re.compile(r"(?:[^\W\d_]|[\u0900-\u0963])+")
"""Letters; the vowel signs of Devanagari are marks to `re`, so they are named."""

_LEAST_SCORE = 60
"""One word that only this language has, or two that it shares with one other."""

_SCRIPTS: Final = {
    "latin": re.compile(r"[a-z\u00df-\u024f]"),
    "cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "arabic": re.compile(r"[\u0600-\u06ff]"),
    "devanagari": re.compile(r"[\u0900-\u097f]"),
    "han": re.compile(r"[\u4e00-\u9fff]"),
    "kana": re.compile(r"[\u3040-\u30ff]"),
    "hangul": re.compile(r"[\uac00-\ud7af\u1100-\u11ff]"),
    "greek": re.compile(r"[\u0370-\u03ff]"),
    "hebrew": re.compile(r"[\u0590-\u05ff]"),
    "thai": re.compile(r"[\u0e00-\u0e7f]"),
}

_ONE_LANGUAGE: Final = {"hangul": "ko", "greek": "el", "hebrew": "he", "thai": "th"}
"""Scripts that, in practice, one language is written in."""

_STOP_WORDS: Final = {
    "en": "the of and is are was were what who whom whose which where when why how many much does "
    "did do has have had this that these those with from for it to in at by an please write give "
    "there would should can could your you my i a as no on me if be will or so",
    "de": "der die das und ist sind war waren was wer wie wo wann warum welche welcher welches "
    "wieviel viele nicht ein eine einen von mit für auf im zu den dem des hat haben bitte ich sie "
    "heißt kann wird",
    "fr": "le la les des du et est sont était quel quelle quels quelles qui que où quand pourquoi "
    "comment combien une un dans pour avec sur au aux ne pas ce cette il elle je vous nous plus",
    "es": "el la los las del de y es son era qué quién cuál cuáles dónde cuándo cómo cuánto "
    "cuántos cuántas por para con una un en que no se su hay está más",
    "it": "il lo la gli le di del della dei e è sono era che chi quale quali dove quando perché "
    "come quanto quanti quante una un per con non nel nella si più questo",
    "pt": "o a os as do da dos das de e é são era que quem qual quais onde quando como quanto "
    "quantos quantas uma um em no na por para com não se mais está você",
    "nl": "de het een en is zijn was waren wat wie welke waar wanneer waarom hoe hoeveel van voor "
    "met niet op aan te dat deze heeft hebben ik je",
    "sv": "och är var det den en ett som vad vem vilken vilket vilka hur när varför många av för "
    "med inte på till har jag från",
    "pl": "i w z na jest są był była co kto jak gdzie kiedy dlaczego ile który która jaka jaki "
    "jakie tym tej nie do się czy od przez dla o",
    "tr": "ve bir bu ne kim nerede nasıl kaç neden hangi mi mı için ile değil olan olarak çok var "
    "kadar nedir",
    "ru": "и в не на что как это где когда кто почему сколько какой какая какое или для из по с у "
    "его был была есть",
    "uk": "і в не на що як це де коли хто чому скільки який яка яке або для із та був була є у",
    "ar": "من في على ما هي هو هل إلى عن كم متى أين كيف لماذا هذا هذه التي الذي أن",
    "fa": "از در به که این است چه کجا کی چرا چگونه چند را با برای و",
    "hi": "है हैं का की के में क्या कौन कहाँ कब क्यों कैसे कितने और से को यह पर था",
}

_LETTERS: Final = {
    "de": "ß",
    "es": "ñ¿¡",
    "pt": "ãõ",
    "sv": "å",
    "pl": "łężśźń",
    "tr": "ğış",
    "ru": "ыэё",
    "uk": "іїєґ",
    "fa": "پچژگ",
}
"""Letters that, among the languages known here, only this one has."""


def _owners() -> dict[str, tuple[str, ...]]:
    owners: dict[str, tuple[str, ...]] = {}
    for code, words in _STOP_WORDS.items():
        for word in words.split():
            owners[word] = (*owners.get(word, ()), code)
    return owners


_WORDS: Final = _owners()

LANGUAGES: Final = frozenset({*_STOP_WORDS, *_ONE_LANGUAGE.values(), "ja", "zh"})
"""Every code that `language` may return."""
