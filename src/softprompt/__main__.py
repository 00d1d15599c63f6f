"""Entry point of `python -m softprompt`, for example for `accelerate launch -m`."""

from softprompt.cli.main import main

main()
