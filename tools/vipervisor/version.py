"""The version of the tools, the one that pyproject.toml reads."""

VERSION = "0.1.0"
