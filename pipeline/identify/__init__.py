"""What bytes are: hashes, types, formats, rule hits."""
