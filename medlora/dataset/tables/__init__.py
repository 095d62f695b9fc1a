"""Tables, CSV and Excel: read row by row, their columns given roles, written as JSON lines."""
