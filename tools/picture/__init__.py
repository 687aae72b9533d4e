"""The picture in README.md: what a person sees after `make run`, from a real run."""
