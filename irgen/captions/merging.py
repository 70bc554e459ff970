"""A vision-language model's words made fit for infrared, and joined to what the rules know.

Colour and light are not in an LWIR image, and models miscount: colours, light and the model's own people and cyclists
are dropped; those come from the boxes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from irgen.captions import forms
from irgen.records import Caption

COLOURS = (
    "red|green|blue|yellow|orange|purple|pink|brown|black|white|gray|grey|beige|tan|golden|silver|turquoise|teal|maroon|"
    "violet|cyan|magenta|colorful|colourful|colored|coloured|multicolored"
)
LIGHT = (
    "lights?|lit|sunlit|sunlight|sun|sunny|sunshine|daylight|daytime|day|night|nighttime|evening|morning|dusk|dawn|sunset|"
    "sunrise|dark|darkness|bright|brightly|dim|dimly|shadows?|shaded?|glowing|shiny|cloudy|clear|overcast|blurry|foggy"
)
SAME_OBJECT = ((r"\btraffic lights?\b", "traffic signal"), (r"\b(?:street|stop) ?lights?\b", "street lamp"))
"""Objects named after light, by other names."""

PREFIX = re.compile(
    r"^(?:(?:this|it) is |there (?:is|are) "
    r"|(?:in )?(?:this|the) (?:image|picture|photo|scene) ?(?:shows|depicts|is of)?,? ?"
    r"|(?:an?|the) (?:\w+ ){0,2}(?:image|photo|photograph|picture|view|shot) (?:of|showing) )"
)
PHRASE_BORDER = re.compile(
    r"\s*[,;]\s*|\s+(?:and|with|while|next to|near|in front of|behind|alongside|as well as|featuring|including)\s+"
)
PEOPLE = re.compile(
    r"\b(?:person|persons|people|man|men|woman|women|child|children|boy|girl|pedestrians?|crowd|someone|nobody)\b"
)
CYCLISTS = re.compile(r"\b(?:cyclists?|bicyclists?|bikers?|riders?|riding|bikes?|bicycles?)\b")
DANGLING = re.compile(
    r"^(?:(?:and|or|with|is|are|of|at|during|under|by|it)\b\s*)+|"
    r"(?:\s*\b(?:and|or|with|is|are|in|on|of|at|a|an|the|under|by|during|next|to|from|wearing|during)\b)+$"
)
BARE = re.compile(
    r"(?:\b(?:a|an|the|some|several|two|three|four|five|many|few|in|on|at|of|view|scene|background|image)\b\s*)*"
)


def clean(description: str) -> list[str]:
    """Return the phrases of a description's first sentence, without colour, light and words about being a picture."""
    sentence = re.split(r"[.!?\n]", description.strip(), maxsplit=1)[0]
    sentence = " ".join(sentence.split()).lower()
    for pattern, name in SAME_OBJECT:
        sentence = re.sub(pattern, name, sentence)
    run = rf"\b(?:{COLOURS}|{LIGHT})\b(?:-\w+\b)?"
    # "red and white bus", "black, white bus": the joining word goes with the colours.
    sentence = re.sub(rf"{run}(?:(?:\s*,\s*|\s+and\s+|\s+or\s+|\s+){run})*", "", sentence)
    sentence = PREFIX.sub("", " ".join(sentence.split()))
    phrases = (_tidy(phrase) for phrase in PHRASE_BORDER.split(sentence))
    return [phrase for phrase in phrases if not BARE.fullmatch(phrase)]


def merge(
    rules: Caption, description: str, count_tokens: Callable[[str], int], max_tokens: int, *, annotated: bool
) -> Caption:
    """Append to the rules' caption what a model saw besides, as many phrases as fit.

    Args:
        rules: the caption from the boxes; it is kept whole.
        description: the model's words.
        count_tokens: CLIP tokens of a text, start and end included.
        max_tokens: what the longer of the two forms may take.
        annotated: whether the source has boxes; then who is there, and that nobody is, the rules alone say.

    Returns:
        A caption of origin "vlm+rules", or the rules' own where the model adds nothing.
    """
    spoken = (PEOPLE, CYCLISTS) if annotated else ()
    extra = [phrase for phrase in clean(description) if not any(pattern.search(phrase) for pattern in spoken)]
    for kept in range(len(extra), 0, -1):
        text = ", ".join([rules.caption, *extra[:kept]])
        tokens = max(count_tokens(forms.infrared(text)), count_tokens(forms.grayscale(text)))
        if tokens <= max_tokens:
            return replace(
                rules,
                caption=text,
                infrared=forms.infrared(text),
                grayscale=forms.grayscale(text),
                origin="vlm+rules",
                tokens=tokens,
                shortened=rules.shortened or kept < len(extra),
            )
    return replace(rules, shortened=rules.shortened or bool(extra))


def _tidy(phrase: str) -> str:
    phrase = DANGLING.sub("", " ".join(phrase.split()))
    # An adjective that is gone may have asked for the other article: "an orange car".
    return re.sub(r"\b(an?) (?=(\w))", lambda found: "an " if found[2] in "aeiou" else "a ", phrase).strip()
