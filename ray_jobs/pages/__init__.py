"""HTML pages that jobs write, and their templates."""
