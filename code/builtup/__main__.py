"""`python -m builtup`: how the MLproject calls the commands."""

from builtup.cli import main

if __name__ == "__main__":
    main()
