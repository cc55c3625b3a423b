"""What burnt an error budget: which paths, which sites, which incidents."""
