"""`python -m dla`: the `dla` command."""

from dla.cli import main

if __name__ == "__main__":
    main()
