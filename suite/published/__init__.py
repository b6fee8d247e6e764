"""What papers have published: their numbers, who ran them again, and verdicts against them."""
