"""The tables: one Faust table a file, with its key, its value, its writer and how entries end."""
