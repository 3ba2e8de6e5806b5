"""The proof for each shipped file: structure, equal integers and scales, equal outputs."""
