"""Pure tensor functions shared by three algorithms or more."""
