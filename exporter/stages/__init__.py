"""The stages of a build, one function each: it reads files, writes files, and reports progress."""
