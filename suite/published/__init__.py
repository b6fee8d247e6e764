"""Published numbers of papers, their reproductions by others, and our verdicts on them."""
