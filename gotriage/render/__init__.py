"""HOW IT READS: units, columns, tables, JSON. No Textual here."""
