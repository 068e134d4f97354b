"""What the training stories teach about words: which there are, which are rare enough to be what a story is about,
which are names. All is learned from use, so it holds for any language.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

from tinytale.addons.survey.sequences import Unit

MARKS = "".join(chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code)).startswith("M"))
"""Signs that belong to the letter before them: accents that stand by themselves, the vowels of Indian scripts."""

LETTERS = re.compile(rf"[^\W\d_]+(?:[{MARKS}]+[^\W\d_]*)*")
LETTER = re.compile(rf"[^\W\d_][{MARKS}]*")
MIDST = re.compile(r"[ ,]+")
"""What may stand before a word without a sentence or quotation beginning there."""

RARE = 0.05
"""What a story is about are words that at most this share of the training stories has."""


class Lexicon:
    """The words of some stories, by use; a word is a run of letters, or one letter where there are no blanks."""

    def __init__(self, stories: Iterable[str], unit: Unit):
        self._pattern = LETTERS if unit == "word" else LETTER
        self._stories = 0
        self._having: Counter[str] = Counter()
        self._capital: Counter[str] = Counter()
        self._small: Counter[str] = Counter()
        for story in stories:
            self._read(story)

    def _read(self, story: str) -> None:
        found = list(self._places(story))
        self._stories += 1
        self._having.update({word.lower() for word, _ in found})
        midst = [word for word, opens in found if not opens]
        self._capital.update(word.lower() for word in midst if word[0].isupper())
        self._small.update(word for word in midst if not word[0].isupper())

    def _places(self, text: str) -> Iterator[tuple[str, bool]]:
        """Each word, and whether it may have a capital letter for opening a sentence or a quotation."""
        end = 0
        for match in self._pattern.finditer(text):
            yield match[0], not MIDST.fullmatch(text, end, match.start())
            end = match.end()

    def words(self, text: str) -> list[str]:
        """The words of a text, as it writes them."""
        return self._pattern.findall(text)

    def knows(self, word: str) -> bool:
        """Whether some story has the word, with or without a capital letter."""
        return word.lower() in self._having

    def names(self, text: str) -> set[str]:
        """The names in a text: words with a capital inside a sentence, or that mostly have one there in train."""
        return {
            word
            for word, opens in self._places(text)
            if len(word) > 1 and word[0].isupper() and word[1:].islower() and (not opens or self._is_name(word.lower()))
        }

    def _is_name(self, word: str) -> bool:
        return self._capital[word] > self._small[word]

    def objects(self, text: str) -> set[str]:
        """What a text is about: its words, in small letters, that few stories have, but for names."""
        names = {name.lower() for name in self.names(text)}
        words = {word.lower() for word in self.words(text)}
        return {word for word in words - names if self._having[word] <= RARE * self._stories}
