"""What a user's own flows may look like."""
