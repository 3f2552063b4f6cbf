"""The archive's first command line, `housekeeping` and `houseutils`, over the parts of Headrace.

It turns stanzas of a TOML file, options and environment into settings, and runs the archive agent or the
operators' commands with them (archive contract, sections 14 and 15).
"""
