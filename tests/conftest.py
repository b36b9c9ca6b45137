"""Makes tests/helpers importable as `helpers`; hypothesis without time limits, as machines are noisy, and in CI with
the same examples each time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # img2dataset's augmentation library would ask the internet
if not Path("/dev/nvidiactl").exists():  # no GPU: Triton looks for this when it is first imported, by whomever
    os.environ["TRITON_INTERPRET"] = "1"
settings.register_profile("openwit", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("openwit")
