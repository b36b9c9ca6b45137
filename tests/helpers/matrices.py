"""Whether the large matrices run whole (`pytest --all`, `make test-all`) or with one of each kind."""

from __future__ import annotations

import os

ALL = "OPENWIT_ALL" in os.environ
