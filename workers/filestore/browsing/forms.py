"""Files in a plain form's body (RFC 7578), read as they come: nothing is kept in memory or written twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from common.errors import BadInput

MOST_HEADER_BYTES = 16 * 1024


def files(content_type: str, body: Iterable[bytes]) -> Iterator[tuple[bytes, Iterator[bytes]]]:
    """Each file of the form: its name, without folders, and its content, which has to be read before the next.

    Other fields, and file fields that were left empty, are passed over. Raises BadInput for what is no such form.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise BadInput("This takes a form with files (multipart/form-data).", field="body")
    return _Reader(options[b"boundary"], body).files()


class _Reader:
    """Turns the parser's calls into a queue of events: a part begins (its file name), content, its end."""

    def __init__(self, boundary: bytes, body: Iterable[bytes]) -> None:
        self._events: deque[tuple[str, bytes]] = deque()
        self._body = iter(body)
        self._field, self._value, self._disposition = b"", b"", b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": lambda data, start, end: self._events.append(("data", data[start:end])),
                "on_part_end": lambda: self._events.append(("end", b"")),
            },
        )

    def files(self) -> Iterator[tuple[bytes, Iterator[bytes]]]:
        while (event := self._next()) is not None:
            if event[0] != "file":
                continue
            content = self._content()
            yield event[1], content
            for _ in content:
                pass  # what was not wanted

    def _content(self) -> Iterator[bytes]:
        while (event := self._next()) is not None:
            if event[0] == "end":
                return
            yield event[1]
        raise BadInput("The form ends in the middle of a file.", field="body", remedy="Send it again.")

    def _next(self) -> tuple[str, bytes] | None:
        while not self._events:
            piece = next(self._body, None)
            if piece is None:
                return None
            try:
                self._parser.write(piece)
            except MultipartParseError as error:
                raise BadInput(f"The form cannot be read: {error}.", field="body") from error
        return self._events.popleft()

    def _begin(self) -> None:
        self._disposition = b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field = _grown(self._field, data[start:end])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value = _grown(self._value, data[start:end])

    def _end_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        # Browsers send the name alone; what sends a path means its last step.
        name = options.get(b"filename", b"").replace(b"\\", b"/").rpartition(b"/")[2]
        self._events.append(("file" if name not in (b"", b".", b"..") else "other", name))


def _grown(text: bytes, more: bytes) -> bytes:
    if len(text) + len(more) > MOST_HEADER_BYTES:
        raise BadInput("A header of the form is too long.", field="body")
    return text + more
