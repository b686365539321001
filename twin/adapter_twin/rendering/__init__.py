"""Reports for people: tables in the terminal, pages with plots."""
