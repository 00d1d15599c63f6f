"""The text around an example's fields: `Review: {text}`, a line end, `Sentiment:`; with markers, also in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from softprompt.data import Example
from softprompt.errors import RowError, TaskError
from softprompt.model import FrozenModel, MaskedModel, placeholder
from softprompt.tasks.pieces import BLANK, Blank, Field, Literal, Piece, Virtual, pieces_of


@dataclass(frozen=True)
class Template:
    """Literal text, named fields, and markers: `[P1]`, `[P2-9]` for virtual tokens, `[MASK]` for a blank to fill.

    Raises:
        TaskError: it cannot be read; see `pieces_of`.
    """

    text: str

    def __post_init__(self) -> None:
        _ = self._pieces

    @cached_property
    def _pieces(self) -> list[Piece]:
        return pieces_of(self.text)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in order, each once."""
        return tuple(dict.fromkeys(piece.name for piece in self._pieces if isinstance(piece, Field)))

    @property
    def num_virtual_tokens(self) -> int:
        """How many virtual tokens have a marker."""
        return sum(isinstance(piece, Virtual) for piece in self._pieces)

    @property
    def has_blank(self) -> bool:
        """Whether there is a `[MASK]`."""
        return any(isinstance(piece, Blank) for piece in self._pieces)

    @property
    def tail(self) -> str:
        """The literal text directly in front of the answer: before the blank, or else at the end."""
        blank = next((i for i, piece in enumerate(self._pieces) if isinstance(piece, Blank)), len(self._pieces))
        before = self._pieces[blank - 1] if blank else None
        return before.text if isinstance(before, Literal) else ""

    def render(self, values: Mapping[str, str]) -> str:
        """The template's text with its fields filled in, without markers."""
        return "".join(_text(piece, values) for piece in self._pieces)

    def filled(self, model: FrozenModel, example: Example) -> list[int]:
        """The ids of an example, uncut and without the model's own tokens around it; virtual tokens are placeholders.

        Raises:
            RowError: a field is missing.
        """
        return self._ids(model, {field: example.text(field) for field in self.fields})

    def encode(self, model: FrozenModel, example: Example, room: int) -> tuple[list[int], bool]:
        """The ids of an example with the model's own tokens around it, in at most `room`, and whether text was cut.

        Virtual tokens are placeholders, a blank is the model's mask token. Only the fields are cut, from their ends,
        the longest first; never the template.

        Raises:
            RowError: a field is missing, or the template alone does not fit.
        """
        values = {field: example.text(field) for field in self.fields}
        ids = model.row(self._ids(model, values))
        cut = False
        while len(ids) > room:
            longest = max(values, key=lambda field: len(values[field]))
            if not values[longest]:
                raise RowError(example.where, f"the template alone needs {len(ids)} tokens where {max(room, 0)} fit")
            values[longest] = shorten(model, values[longest], len(ids) - room)
            ids = model.row(self._ids(model, values))
            cut = True
        return ids, cut

    def locate(
        self, model: FrozenModel, values: Mapping[str, str], field: str
    ) -> tuple[list[int], list[tuple[int, tuple[int, int]]]]:
        """The ids of a row with these values, and of each token of `field` its place in them and its characters."""
        ids: list[int] = []
        found: list[tuple[int, tuple[int, int]]] = []
        text, begin, end = "", 0, 0
        for piece in [*_with_special_tokens(self._pieces, model), None]:
            if isinstance(piece, Literal | Field):
                if piece == Field(field):
                    begin, end = len(text), len(text) + len(values[field])
                text += _text(piece, values)
                continue
            text = text.rstrip(" ") if isinstance(piece, Virtual | Blank) else text
            tokens, spans = _with_spans(model, text)
            inside = [(max(start, begin), min(stop, end)) for start, stop in spans]
            found += [(len(ids) + i, (a - begin, b - begin)) for i, (a, b) in enumerate(inside) if a < b]
            ids += tokens if piece is None else [*tokens, _id(piece, model)]
            text, begin, end = "", 0, 0
        before = model.row([placeholder(0)]).index(placeholder(0))
        return model.row(ids), [(before + place, span) for place, span in found]

    def doubled(self, model: FrozenModel) -> list[str]:
        """The special tokens at its ends that the model puts around every row itself, so that they stand there once."""
        pieces = [part for piece in self._pieces for part in _parts(piece, model)]
        ids = [pieces[i] for i in sorted(_doubled(pieces, model))]
        return [str(model.tokenizer.decode([each])) for each in ids if isinstance(each, int)]

    def check_blank(self, model: FrozenModel) -> None:
        """Whether the template has no blank, or the model fills it.

        Raises:
            TaskError: a blank for a model that is not masked.
        """
        if self.has_blank and not isinstance(model, MaskedModel):
            raise TaskError(
                f"{model.name} is no masked model and fills no {BLANK}: leave it out, the answer follows the template"
            )

    def check_answerable(self, model: FrozenModel) -> None:
        """Whether the model can say its answer: a masked one needs a blank for it.

        Raises:
            TaskError: there is none.
        """
        if isinstance(model, MaskedModel) and not self.has_blank:
            raise TaskError(
                f"{model.name} is a masked model, and the template {self.text!r} has no {BLANK} to be filled: "
                f"write one where the label belongs, such as '{{text}} It was {BLANK}.', or choose `head=\"linear\"`"
            )

    def _ids(self, model: FrozenModel, values: Mapping[str, str]) -> list[int]:
        """The ids between the row's special tokens; text between markers is tokenised in one, a marker ends it."""
        ids: list[int] = []
        text = ""
        for piece in _with_special_tokens(self._pieces, model):
            if isinstance(piece, Literal | Field):
                text += _text(piece, values)
                continue
            text = text.rstrip(" ") if isinstance(piece, Virtual | Blank) else text  # no token of a lone space
            ids += [*model.tokenize(text, plain=True), _id(piece, model)]
            text = ""
        return [*ids, *model.tokenize(text, plain=True)]


def _with_special_tokens(pieces: list[Piece], model: FrozenModel) -> list[Piece | int]:
    """The pieces with the special tokens that literals write as ids; those in a field are a text's own words.

    What the model puts around every row (BOS, CLS and SEP, an encoder's end) is left out at the template's own ends: it
    would stand there twice.
    """
    found = [part for piece in pieces for part in _parts(piece, model)]
    doubled = _doubled(found, model)
    return [piece for i, piece in enumerate(found) if i not in doubled]


def _doubled(pieces: Sequence[Piece | int], model: FrozenModel) -> set[int]:
    """The places of the special tokens at both ends of a template that the model puts there itself."""
    row = model.row([placeholder(0)])
    text = row.index(placeholder(0))
    first = _at_the_end(range(len(pieces)), pieces, row[:text])
    return first | _at_the_end(range(len(pieces) - 1, -1, -1), pieces, row[text + 1 :])


def _at_the_end(places: range, pieces: Sequence[Piece | int], added: Sequence[int]) -> set[int]:
    found = set()
    for place in places:
        piece = pieces[place]
        if isinstance(piece, int) and piece in added:
            found.add(place)
        elif not isinstance(piece, Virtual) and not (isinstance(piece, Literal) and not piece.text.strip()):
            break
    return found


def _parts(piece: Piece, model: FrozenModel) -> list[Piece | int]:
    """A piece, its special tokens apart."""
    return [_literal(part) for part in model.split_special(piece.text)] if isinstance(piece, Literal) else [piece]


def _literal(part: str | int) -> Literal | int:
    return part if isinstance(part, int) else Literal(part)


def _with_spans(model: FrozenModel, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The ids of a text in which no token is special, and each one's characters."""
    encoded = model.tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    return encoded.input_ids, encoded.offset_mapping


def _text(piece: Piece, values: Mapping[str, str]) -> str:
    match piece:
        case Literal(text=text):
            return text
        case Field(name=name):
            return values[name]
    return ""


def _id(piece: Piece | int, model: FrozenModel) -> int:
    match piece:
        case int():
            return piece
        case Virtual(index=index):
            return placeholder(index)
    assert isinstance(model, MaskedModel)  # `check_blank` saw to it
    return model.blank


def only_field(template: Template) -> str:
    """The name of a template's only field.

    Raises:
        TaskError: it has several, so that one text does not fill it.
    """
    if len(template.fields) != 1:
        raise TaskError(f"the template has the fields {', '.join(template.fields)}: one text cannot fill them")
    return template.fields[0]


def shorten(model: FrozenModel, text: str, tokens: int) -> str:
    """A text without its last `tokens` tokens, cut at a token's end in the original characters."""
    _, ends = _with_spans(model, text)
    keep = len(ends) - tokens
    return text[: min(ends[keep - 1][1], len(text) - 1)] if keep > 0 else ""


def end_of(text: str, most: int) -> str:
    """The last characters of a text, `most` and up to as many again, cut in front of white space where there is some.

    A tokenizer looks no further back: what is in front of a word is no part of its tokens.
    """
    if len(text) <= 2 * most:
        return text
    early = text[-2 * most : -most]
    return text[-most - max((len(early) - i for i, each in enumerate(early) if each.isspace()), default=0) :]


def joined(template: Template, answer: str) -> str:
    """An answer as it follows the template: behind a space, unless white space or a script without spaces is there.

    In front of a blank the template says itself whether there is a space.
    """
    if template.has_blank:
        return " " + answer if template.tail.endswith(" ") else answer
    spaced = not template.text[-1:].isspace() and not _is_wide(answer[:1])
    return " " + answer if spaced else answer


def _is_wide(character: str) -> bool:
    """Whether a character belongs to the scripts that put no spaces between words (Chinese, Japanese)."""
    return any(
        start <= character <= end for start, end in (("\u3000", "\u9fff"), ("\uf900", "\ufaff"), ("\uff00", "\uffef"))
    )
