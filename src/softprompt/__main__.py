"""`python -m softprompt` is the command `softprompt`: what `accelerate launch -m` starts."""

from softprompt.cli.main import main

main()
