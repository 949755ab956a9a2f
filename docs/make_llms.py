"""Writes llms.txt and llms-full.txt for readers that are programs: `python docs/make_llms.py site`; see llmstxt.org."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"


def pages() -> Iterator[tuple[str, Path]]:
    """The pages in the order of the site, each with the section that it stands in."""
    section = ""
    menu = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    for line in menu.splitlines():
        entry = line.strip().removeprefix("- ")
        if entry.endswith(":"):
            section = entry.removesuffix(":")
        elif entry:
            yield section, DOCS / entry


def titled(page: Path) -> tuple[str, str]:
    """A page's title, and its first paragraph on one line."""
    title, _, rest = page.read_text(encoding="utf-8").partition("\n")
    paragraphs = (text.strip() for text in rest.split("\n\n"))
    first = next((text for text in paragraphs if re.match(r"[A-Z`]", text)), "")
    return title.removeprefix("# "), " ".join(first.split())


def write(folder: Path) -> None:
    """Both files: a list of the pages, and all of them in one."""
    about, listed, section = titled(README)[1], list[str](), ""
    for part, page in pages():
        if part != section:
            section = part
            listed.append(f"\n## {section}\n")
        title, first = titled(page)
        listed.append(f"- [{title}]({page.name}): {first}")
        (folder / page.name).write_bytes(page.read_bytes())
    (folder / "llms.txt").write_text("\n".join([f"# dla\n\n> {about}\n", *listed]) + "\n", encoding="utf-8")
    whole = [README, *(page for _, page in pages())]
    text = "\n\n".join(page.read_text(encoding="utf-8").rstrip() for page in whole)
    (folder / "llms-full.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
