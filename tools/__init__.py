"""What makes the generated and recorded files of the project; `make docs` runs all of it."""
