"""A self-contained HTML page that evaluates the default surrogate in the browser."""
