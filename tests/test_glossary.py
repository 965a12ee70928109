"""The page is what the notebooks say, and says it all."""

import re

from conftest import ROOT

from helpers.tools import glossary


def test_the_page_is_made_from_the_notebooks_as_they_are():
    assert glossary.PAGE.read_text(encoding="utf-8") == glossary.page(), "python -m helpers.tools.glossary"


def test_every_notebook_brings_words_and_the_order_is_that_of_the_alphabet():
    found = glossary.entries()
    assert {name for _, name in found} == {path.name for path in glossary.NOTEBOOKS}
    words = [re.match(r"- \*\*(.+?)\*\*", line)[1].lower() for line, _ in found]
    assert words == sorted(words) and len(words) >= 40 and "over-refusal." in words


def test_every_link_leads_to_a_notebook():
    for name in re.findall(r"\]\((\d\d_\w+\.ipynb)\)", glossary.PAGE.read_text(encoding="utf-8")):
        assert (ROOT / "notebooks" / name).exists()
