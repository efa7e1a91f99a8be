"""Work that may be repeated, resumed and spread over processes and machines."""
