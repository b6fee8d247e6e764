"""What finished cells say: the schema of a record, and the folder that keeps them."""
