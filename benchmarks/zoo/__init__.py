"""The zoo: every architecture of the catalogue, attributed and compared with what was found without the library."""
