"""Draw docs/report.png: the head of a report page as a browser shows it.

    make demo
    python benchmarks/studies/report_picture.py output/demo/report.html docs/report.png

Needs Playwright (in requirements-dev.txt) and a Chromium: the one that is given, or Playwright's.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import sync_playwright

from builtup.jobs.files import atomic_path

#: What is seen of the page, and the width of the picture.
WIDTH, HEIGHT, SHOWN = 1240, 2040, 900


@click.command()
@click.argument("page", type=click.Path(exists=True, path_type=Path))
@click.argument("picture", type=click.Path(path_type=Path))
@click.option("--browser", default="", help="path of a Chromium")
def main(page: Path, picture: Path, browser: str) -> None:
    """Write PICTURE, a PNG of 256 colours, from the HTML file PAGE."""
    found = browser or shutil.which("chromium-headless-shell") or shutil.which("chromium")
    with sync_playwright() as p:
        # without a sandbox it runs as root too; the page is our own
        opened = p.chromium.launch(executable_path=found, args=["--no-sandbox"])
        tab = opened.new_page(viewport={"width": WIDTH, "height": 1000})
        tab.goto(page.resolve().as_uri())
        area = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT}
        shot = tab.screenshot(full_page=True, clip=area)
        opened.close()
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image = image.resize((SHOWN, SHOWN * HEIGHT // WIDTH), Image.Resampling.LANCZOS)
    with atomic_path(picture) as temporary:
        image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            temporary, optimize=True
        )


if __name__ == "__main__":
    main()
