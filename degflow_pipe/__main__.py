"""`python -m degflow_pipe` is the `degflow-pipe` command."""

from degflow_pipe.cli.app import main

main()
