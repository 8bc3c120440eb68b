"""MuJoCo and classic continuous control."""
