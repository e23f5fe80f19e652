"""What a command printed, as a picture for the documentation: made by the run itself, so it shows the real thing."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

WIDTH = 108
_FONTS = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace'
# Rich's own form fetches its font from elsewhere; a picture in a repository should not.
_FORM = re.sub(r"@font-face \{\{.*?\}\}|<!--.*?-->", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", _FONTS
)


def draw(path: Path, title: str, write: Callable[[Console], None], *, width: int = WIDTH) -> None:
    """Write what `write` prints on a terminal of `width` columns as an SVG file."""
    out = Console(record=True, force_terminal=True, width=width, highlight=False, file=StringIO())
    write(out)
    out.save_svg(str(path), title=title, code_format=_FORM, unique_id="report")
