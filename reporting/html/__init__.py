"""The self-contained HTML page: its tables, molecules, templates, style sheet and script."""
