"""``python -m stream.cli`` is ``padellm``."""

from stream.cli import main

main()
