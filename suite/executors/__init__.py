"""Where and when cells are computed: serial, local workers, Ray."""
