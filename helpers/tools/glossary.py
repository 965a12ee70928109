"""Rebuild the glossary: `python -m helpers.tools.glossary` writes `notebooks/glossary.md` from the notebooks themselves.

An entry is a line of a section “Words we use”: `- **Word**: what it means.`
"""

import re

import nbformat

from ..paths import ROOT
from .gallery import NOTEBOOKS, title

PAGE = ROOT / "notebooks" / "glossary.md"
HEAD = """# Glossary

The words of the series, each with the notebook that introduces it. (Made from the notebooks by
`python -m helpers.tools.glossary`.)

"""


def entries() -> list[tuple[str, str]]:
    """(the line as the notebook has it, the name of the notebook's file), in the order of the alphabet."""
    found = []
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            _, _, section = cell.source.partition("## Words we use\n")
            found += [
                (line, path.name) for line in re.findall(r"^- \*\*.+", section.partition("\n## ")[0], re.MULTILINE)
            ]
    return sorted(found, key=lambda entry: entry[0].split("**")[1].lower())


def page() -> str:
    names = {path.name: f"{path.stem[:2]} {title(path)}" for path in NOTEBOOKS}
    return HEAD + "".join(f"{line} → [{names[name]}]({name})\n" for line, name in entries())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
