"""Conversations with clients of the 2025 era, whatever carries them. Knows no wire and no upstream."""
