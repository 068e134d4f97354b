"""The kinds of file that hold stories. Each reads one story at a time, so that memory does not grow with the file."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tinytale.data.raw_files import AS_USUAL, HEAD, MOST_BYTES, NO_TEXT, Part, RawFile, ReadingOptions, reading, shown
from tinytale.errors import TaleError, UsageError

SEPARATOR = "<|endoftext|>"
"""A line of a text file that holds nothing else stands between two stories."""

BLANK_LINE = "blank-line"
"""For `--split-at`: stories are what stands between blank lines."""

BLANKS = " \t\r\n"
"""What is stripped from both ends of a story."""

SPOKEN = ("content", "text", "value")
"""Where a message of a chat has its text, under the names that OpenAI, parts of messages, and ShareGPT give it."""

NULLS = "records without a text"
INSIDE_LINES = "separators inside lines"

Found: TypeAlias = str | Literal[False] | None
"""The text in a field; None is a null, False is no text."""

MOST_JSON = 128 * 2**20
ROWS_AT_ONCE = 1024
NESTED_ROWS_AT_ONCE = 16
NAMED_FIELDS = 8


class TextFile(RawFile):
    """A text file: stories between separator lines, or as `split_at` says; without either it is one story."""

    def stories(self, noticed: Counter[str]) -> Iterator[str]:
        """The stories in order.

        Raises:
            TaleError: the file cannot be read, or a story is too long.
        """
        at, story, size = self.options.split_at, [], 0
        for number, line in self.lines():
            if at == BLANK_LINE:
                pieces = [line] if line.strip(BLANKS) else ["", ""]
            elif at is not None:
                pieces = line.split(at)
            elif SEPARATOR not in line:
                pieces = [line]
            elif line.strip(BLANKS) == SEPARATOR:
                pieces = ["", ""]
            else:
                noticed[INSIDE_LINES] += line.count(SEPARATOR)
                pieces = [line]
            for index, piece in enumerate(pieces):
                if index:
                    yield "".join(story)
                    story, size = [], 0
                story.append(piece)
                size += len(piece)
            if size > MOST_BYTES:
                raise TaleError(self.too_long(f"the story before line {number + 1}"))
        yield "".join(story)


class Records(RawFile):
    """A file of records, each with a story in a field."""

    def story(self, record: dict[str, Any], where: str, noticed: Counter[str]) -> str:
        """The story of one record; that of a null is empty, and counted.

        Raises:
            TaleError: there is no text in the field, or half a character in the text.
        """
        field = self.options.field
        try:
            found = text_at(record, field)
        except RecursionError:
            found = False
        if found is None:
            noticed[NULLS] += 1
            return ""
        if found is False:
            names = [str(name)[:80] for name, value in record.items() if isinstance(value, str)]
            more = f" and {len(names) - NAMED_FIELDS:,} more" if len(names) > NAMED_FIELDS else ""
            raise TaleError(
                f"{where}: no text in field {field!r}; name one with --field"
                f" (fields with text: {', '.join(names[:NAMED_FIELDS]) or 'none'}{more})"
            )
        try:
            return found.encode("utf-8", self.options.errors).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeEncodeError as error:
            raise TaleError(
                f"{where}: the story holds half a character (a lone surrogate); --errors replace puts ? in its place"
            ) from error

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object of JSON.

        Raises:
            ValueError: a name of the field stands in it twice, so that one of two texts would be lost.
        """
        record = dict(pairs)
        if len(record) < len(pairs):
            names = [name for name, _ in pairs]
            for name in (self.options.field, *self.options.field.split(".")):
                if names.count(name) > 1:
                    raise ValueError(f"{name!r} stands in it {names.count(name)} times; expected one")
        return record


class JsonLines(Records):
    """A `.jsonl` file: one JSON object a line."""

    def stories(self, noticed: Counter[str]) -> Iterator[str]:
        """The stories in order.

        Raises:
            TaleError: a line is too long, not a JSON object, or has no text in the field (with its line).
        """
        for number, line in self.lines():
            if line.strip():
                where = f"{shown(self.path)}, line {number}"
                try:
                    record = json.loads(line, object_pairs_hook=self.unique)
                except (ValueError, RecursionError) as error:
                    raise TaleError(
                        f"{where}: expected one JSON object, found {line.strip()[:40]!r} ({error})"
                    ) from error
                if not isinstance(record, dict):
                    raise TaleError(f"{where}: expected a JSON object, found {line.strip()[:40]!r}")
                yield self.story(record, where, noticed)


class JsonFile(JsonLines):
    """A `.json` file: one array of objects, or one object a line."""

    def stories(self, noticed: Counter[str]) -> Iterator[str]:
        """The stories in order.

        Raises:
            TaleError: it is neither, too large for an array, or an object has no text in the field (with its index).
        """
        path = shown(self.path)
        with self.text() as file:
            array = file.read(HEAD).lstrip().startswith("[")
        if not array:
            yield from super().stories(noticed)
            return
        if self.text_bytes > MOST_JSON:
            raise TaleError(
                f"{path}: an array of more than {MOST_JSON >> 20} MiB; as JSON lines: jq -c '.[]' FILE > FILE.jsonl"
            )
        try:
            with self.text() as file:
                records = json.load(file, object_pairs_hook=self.unique)
        except (ValueError, RecursionError) as error:
            raise TaleError(f"{path}: expected one JSON array of objects ({error})") from error
        for index, record in enumerate(records):
            if not isinstance(record, dict):
                raise TaleError(f"{path}, item {index}: expected a JSON object, found {str(record)[:40]!r}")
            yield self.story(record, f"{path}, item {index}", noticed)


class TableFile(Records):
    """A `.csv` or `.tsv` file, whose first line names the columns.

    Where that line has semicolons and no comma, as spreadsheets write it in many countries, they part the columns.
    """

    def stories(self, noticed: Counter[str]) -> Iterator[str]:
        """The stories in order.

        Raises:
            TaleError: there is no such column or it is there twice; a row is damaged, or has more fields than there
                are columns (with the line that it begins in).
        """
        csv.field_size_limit(MOST_BYTES)
        lines = (line for _, line in self.lines())
        first = next(lines, "")
        between = "\t" if self.path.suffix.lower() == ".tsv" else ";" if ";" in first and "," not in first else ","
        rows = csv.reader(chain([first], lines), delimiter=between, strict=True)
        columns, line = [], 1
        try:
            for row in rows:
                where, line = f"{shown(self.path)}, line {line}", rows.line_num + 1
                if not columns:
                    columns = row
                    if columns.count(self.options.field) > 1:
                        raise TaleError(
                            f"{where}: several columns are called {self.options.field!r}; rename all but one"
                        )
                elif any(row[len(columns) :]):
                    raise TaleError(
                        f"{where}: {len(row)} fields, but {len(columns)} columns; expected double quotes around a text"
                        f" that holds {between!r}"
                    )
                elif row:
                    yield self.story(dict(zip_longest(columns, row[: len(columns)])), where, noticed)
        except csv.Error as error:
            raise TaleError(f"{shown(self.path)}, line {line}: not a table as CSV has it: {error}") from error


class ParquetFile(Records):
    """A `.parquet` file with the stories in a column."""

    is_text = False

    @contextmanager
    def opened(self, **options: Any) -> Iterator[Any]:
        """The file as pyarrow sees it, with errors that name it."""
        import pyarrow
        import pyarrow.parquet

        try:
            with reading(self.path), pyarrow.parquet.ParquetFile(self.path, **options) as file:
                yield file
        except pyarrow.ArrowException as error:
            why = " ".join(str(error).split())[:200]
            raise TaleError(f"{shown(self.path)} cannot be read as Parquet: {why}") from error

    @property
    def column(self) -> str:
        """The column that holds the field."""
        with self.opened() as file:
            names = file.schema_arrow.names
        return self.options.field if self.options.field in names else self.options.field.split(".")[0]

    @property
    def text_bytes(self) -> int:
        """Size of the column before compression."""
        column = self.column
        with self.opened() as file:
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            columns = [group.column(index) for group in groups for index in range(group.num_columns)]
            return sum(
                one.total_uncompressed_size
                for one in columns
                if one.path_in_schema.split(".")[0] == column.split(".")[0]
            )

    def stories(self, noticed: Counter[str]) -> Iterator[str]:
        """The stories in order.

        Raises:
            TaleError: the file is damaged, has no such column of text; a row is not UTF-8, or too long (with its row).
        """
        import pyarrow

        types, name = pyarrow.types, self.column
        with self.opened() as file:
            kinds = {field.name: field.type for field in file.schema_arrow}
            rows = file.metadata.num_rows
        kind = kinds.get(name)
        plain = kind is not None and _is_text(kind)
        if not plain and not (kind is not None and types.is_nested(kind)):
            texts = [each for each, of in kinds.items() if _is_text(of)]
            more = f" and {len(texts) - NAMED_FIELDS:,} more" if len(texts) > NAMED_FIELDS else ""
            raise TaleError(
                f"{shown(self.path)}: no column {name!r} of text; name one with --field"
                f" (there: {', '.join(texts[:NAMED_FIELDS]) or 'none'}{more})"
                + (f"; {name!r} holds {kind}" if kind is not None else "")
            )
        large = self.text_bytes // max(1, rows) + 1
        at_once = max(1, min(ROWS_AT_ONCE if plain else NESTED_ROWS_AT_ONCE, 4 * MOST_BYTES // large))
        row = 0
        # a dictionary keeps what is repeated once in memory, however often a file of a few bytes repeats it
        with self.opened(read_dictionary=[name] if plain else None) as file:
            for batch in file.iter_batches(at_once, columns=[name]):
                values = batch.column(0)
                texts = values.dictionary.cast(pyarrow.large_binary()) if plain else None
                for index in range(len(values)):
                    row += 1
                    where = f"{shown(self.path)}, row {row}"
                    if texts is None:
                        yield self.story({name: values[index].as_py()}, where, noticed)
                    else:
                        place = values.indices[index].as_py()
                        content = None if place is None else texts[place].as_buffer()
                        text = None if content is None else self.decode(content, where)
                        yield self.story({name: text}, where, noticed)

    def decode(self, content: Any, where: str) -> str:
        """One row as text."""
        if content.size > MOST_BYTES:
            raise TaleError(self.too_long(where.rsplit(", ", 1)[1]))
        try:
            return content.to_pybytes().decode("utf-8", self.options.errors)
        except UnicodeDecodeError as error:
            raise TaleError(
                f"{where}: not UTF-8; give --errors replace to put U+FFFD in place of such bytes"
            ) from error


KINDS: dict[str, type[RawFile]] = {
    ".txt": TextFile,
    ".jsonl": JsonLines,
    ".parquet": ParquetFile,
    ".md": TextFile,
    ".csv": TableFile,
    ".tsv": TableFile,
    ".json": JsonFile,
}
"""Kinds of file by the end of their names."""

FIRST_KINDS = (".txt", ".jsonl", ".parquet")
"""Where a folder has files of these kinds, the others there (a README.md, settings in .json) are not its stories."""


def text_at(record: dict[str, Any], field: str) -> Found:
    """The text in a field of a record: a string, or a list of strings or of a chat's messages, put line by line.

    Dots in `field` lead into what a field holds, and into every item of a list.
    """
    if field in record:
        return _text_of(record[field])
    first, dot, rest = field.partition(".")
    value = record.get(first, False)
    if not dot or value is False:
        return False
    if isinstance(value, list):
        return _joined([text_at(item, rest) if isinstance(item, dict) else False for item in value])
    return text_at(value, rest) if isinstance(value, dict) else value if value is None else False


def _text_of(value: Any) -> Found:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        return _joined([_text_of(item) for item in value])
    if isinstance(value, dict) and (name := next((name for name in SPOKEN if name in value), None)):
        return _text_of(value[name])
    return False


def _joined(texts: list[Any]) -> Found:
    if not texts or any(text is False for text in texts):
        return False
    return "\n".join(text for text in texts if text) or None


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def file_part(path: Path, *, name: str | None = None, options: ReadingOptions = AS_USUAL) -> Part:
    """The part that reads `path`, by the kind that its name tells.

    Raises:
        UsageError: the name tells none of the known kinds, or `split_at` is for texts and the file is none.
    """
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        with reading(path), path.open("rb") as file:
            begin = file.read(HEAD)
        if told := next((told for start, told in NO_TEXT.items() if begin.startswith(start)), None):
            raise UsageError(f"{shown(path)} is {told}")
        raise UsageError(
            f"{shown(path)}: expected a file named {', '.join(f'*{suffix}' for suffix in KINDS)};"
            " save the text of anything else as .txt"
        )
    if options.split_at is not None and kind is not TextFile:
        raise UsageError(f"{shown(path)}: --split-at is for text files (.txt, .md); its stories are records already")
    return kind(path, name or shown(Path(path.name)), options)
