"""`python -m pipelines` is `openwit`."""

from pipelines.cli import main

main()
