"""Repeated blocks of a program, found by their structure and made functions."""
