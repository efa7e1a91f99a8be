"""Draw the README's pictures: maps of the model that comes with the project, as they are left.

    python benchmarks/studies/shipped_pictures.py [--output output/predict] [--docs docs]

Runs `builtup predict --input_path $BUILTUP_DATA/real_s1/test` and writes each city's preview to
`docs/predict_<city>.png`, at three quarters of its size.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from commands import builtup, use_project_database
from PIL import Image

END = "_preview.png"
SHARE = 0.75
#: A palette keeps a picture of speckle at a third of its size.
COLOURS = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output/predict"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    data = os.environ.get("BUILTUP_DATA")
    if not data:
        sys.exit("error: BUILTUP_DATA: not set; give the folder that holds real_s1")
    use_project_database()
    builtup("predict", input_path=Path(data) / "real_s1" / "test", output_path=arguments.output)
    for preview in sorted((arguments.output / "raw").glob(f"*{END}")):
        print(shrunk(preview, arguments.docs / f"predict_{city(preview)}.png"))


def city(preview: Path) -> str:
    """`vegabaja` of `30SXH_VegaBaja_preview.png`."""
    return preview.name.removesuffix(END).partition("_")[2].lower()


def shrunk(preview: Path, target: Path) -> Path:
    """Write a preview at `SHARE` of its size, with a palette."""
    with Image.open(preview) as image:
        size = round(image.width * SHARE), round(image.height * SHARE)
        small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    small.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    return target


if __name__ == "__main__":
    main()
