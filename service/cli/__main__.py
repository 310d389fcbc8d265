"""`python -m service.cli` is `lastseen`."""

from service.cli import main

main()
