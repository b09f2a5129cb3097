"""The shipped router, checked against its recorded sha256 before it is used."""
