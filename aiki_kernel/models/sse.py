"""Server-sent events as OpenAI-compatible servers write them: bytes in, data out.

Lines end in LF, CRLF or CR and in nothing else: JSON may hold U+2028 or U+0085 raw, at
which ``str.splitlines`` would cut. Source: the WHATWG HTML standard, "Interpreting an
event stream".
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

_BREAK = re.compile(rb"\r\n|\n|\r")

DONE = "[DONE]"


async def data_fields(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The data of each event; a comment (keep-alive) yields "" so that waiting can be timed.

    An event that the end of the stream cuts off is dropped, as the standard asks; a last
    event without its blank line is kept when its line is whole.
    """
    buffer = b""
    held: list[str] = []
    async for chunk in chunks:
        buffer += chunk
        # a CR at the very end may be half of a CRLF: wait for the next bytes
        end = len(buffer) - 1 if buffer.endswith(b"\r") else len(buffer)
        start = 0
        for match in _BREAK.finditer(buffer, 0, end):
            line = buffer[start : match.start()]
            start = match.end()
            if not line:
                if held:
                    yield "\n".join(held)
                    held = []
            elif line.startswith(b"data:"):
                held.append(line[5:].removeprefix(b" ").decode("utf-8", "replace"))
            elif line.startswith(b":"):
                yield ""
        buffer = buffer[start:]
    if held:
        yield "\n".join(held)
