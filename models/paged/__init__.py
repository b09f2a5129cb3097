"""The paged hybrid: pages are encoded each by itself, so that they can be kept, and read in any company."""
