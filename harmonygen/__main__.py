"""`python -m harmonygen` is the command `harmonygen`."""

from harmonygen_cli.main import main  # type: ignore[import-untyped]

if __name__ == "__main__":
    main()
