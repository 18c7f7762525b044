"""Programs of clients that nobody here wrote, for environments of their own."""
