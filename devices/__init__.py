"""Carries files to a device, runs `runtimes` there and brings the reports back."""
