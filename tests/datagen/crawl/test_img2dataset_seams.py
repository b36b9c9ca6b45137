from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CODE = """
import sys
from datagen.crawl.slim_import import slim_import
with slim_import("img2dataset", without="torch", forget="webdataset"):
    from img2dataset.downloader import Downloader
    from img2dataset.writer import WebDatasetSampleWriter
assert Downloader and WebDatasetSampleWriter
print(*(name for name in ("torch", "ray", "albumentations", "webdataset") if name in sys.modules))
import torch, webdataset
assert issubclass(webdataset.WebDataset, torch.utils.data.IterableDataset)
from datagen.crawl.slim_import import slim_import
with slim_import("img2dataset", without="torch", forget="webdataset"):
    pass
assert sys.modules["torch"] is torch and sys.modules["webdataset"] is webdataset
"""


def test_a_worker_gets_the_two_modules_without_torch_and_ray_and_whoever_comes_later_gets_all() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
