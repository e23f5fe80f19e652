"""One module a subject; each has `rows(ground)`, which measures and yields its rows."""
