"""Records of finished cells: their schema, and the folder that stores them."""
