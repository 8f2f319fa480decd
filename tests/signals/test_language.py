import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.signals.language import LANGUAGES, language

SENTENCES = {
    "en": ["What is the capital of France?", "Please write me a poem about autumn.", "Who was it?"],
    "de": [
        "Was ist die Hauptstadt von Frankreich?",
        "Wie viele Einwohner hat Rom?",
        "Bitte erkläre",
    ],
    "fr": ["Quelle est la capitale de la France ?", "Combien d'habitants y a-t-il dans ce pays ?"],
    "es": ["¿Cuál es la capital de Francia?", "Cuántos habitantes hay en este país?"],
    "it": ["Qual è la capitale della Francia?", "Quanti abitanti ci sono nella città di Roma?"],
    "pt": ["Qual é a capital da França?", "Quantas pessoas não moram nas cidades?"],
    "nl": ["Wat is de hoofdstad van Frankrijk?", "Hoeveel inwoners heeft het land?"],
    "sv": ["Vad är huvudstaden i Frankrike?", "Hur många bor det i landet?"],
    "pl": ["Jaka jest stolica Francji?", "Ile osób mieszka w tym kraju?"],
    "tr": ["Fransa'nın başkenti neresidir?", "Bu ülkede kaç kişi yaşıyor?"],
    "ru": ["Какая столица Франции?", "Сколько жителей в этом городе?"],
    "uk": ["Яка столиця Франції?", "Скільки людей живе в цьому місті?"],
    "ar": ["ما هي عاصمة فرنسا؟"],
    "fa": ["پایتخت فرانسه کجا است؟"],
    "hi": ["फ्रांस की राजधानी क्या है?"],
    "ja": ["フランスの首都はどこですか", "東京タワーの高さは?"],
    "zh": ["法国的首都是哪里?"],
    "ko": ["프랑스의 수도는 어디입니까?"],
    "el": ["Ποια είναι η πρωτεύουσα της Γαλλίας;"],
    "he": ["מהי בירת צרפת?"],
    "th": ["เมืองหลวงของฝรั่งเศสคือที่ไหน"],
}


@pytest.mark.parametrize(
    ("code", "sentence"), [(code, text) for code, texts in SENTENCES.items() for text in texts]
)
def test_a_plain_question_is_in_its_language(code, sentence):
    assert language(sentence) == code


def test_every_language_that_can_be_told_has_a_sentence_here():
    assert set(SENTENCES) == LANGUAGES


@pytest.mark.parametrize("text", ["", "42 + 17", "Paris", "x = f(y)", "🙂🙂", "Здраво свете"])
def test_what_is_not_clear_has_no_language(text):
    assert language(text) is None


def test_english_with_a_foreign_name_stays_english():
    assert language("When was the father of Juana Del Pino y Vera born?") == "en"


@given(st.text(max_size=300))
def test_any_text_has_a_known_language_or_none(text):
    assert language(text) in LANGUAGES | {None}
