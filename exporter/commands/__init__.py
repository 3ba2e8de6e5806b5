"""The commands, in files by what they work on: each is a few lines over a function of a package."""
