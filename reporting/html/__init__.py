"""The self-contained HTML page: its molecules, templates, style sheet and script."""
