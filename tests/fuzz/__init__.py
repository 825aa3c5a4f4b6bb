"""What outsiders reach, under inputs that nobody sends by design: `python -m tests.fuzz`, and its seeds in `make test`."""
