"""The font of pictures."""

from __future__ import annotations

import subprocess
import sys

from builtup.scoring.fonts import label_font


def test_text_of_many_scripts_has_a_width_and_matplotlib_is_not_imported() -> None:
    assert label_font(20).getlength("Ağrı Δ Город") > 3 * label_font(20).getlength("aaa")
    code = "import sys; from builtup.scoring.fonts import label_font as f; f(12); "
    code += "print('matplotlib' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
