"""`python -m fastoci`."""

from fastoci.cli import main

main()
