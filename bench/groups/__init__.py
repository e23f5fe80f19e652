"""One module a subject; each has `rows(bench)`, which measures and yields its rows."""
