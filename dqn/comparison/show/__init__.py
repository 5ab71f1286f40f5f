"""How results are shown: words, tables, figures, the report."""
