"""Ways to write rows into a database, side by side: our sink, and what one would do without it. Each is a `Writer`."""
