"""The reference pages out of the code: cog calls these (`make docs`); nothing of it ships."""
