//! Nothing: the end-to-end tests are in `tests/e2e`, one binary that runs the real programs.
