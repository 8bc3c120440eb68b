"""Text: prompts in, completions out, rewards by a verifier that is a program."""
