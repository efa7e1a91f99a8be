"""Pictures from the air: how they are found, read and brought into one form."""
