"""The self-contained page: tables, structures, template, style and script."""
