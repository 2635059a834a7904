"""Plans of what to keep and what to compute again, so that a program fits a budget of memory."""
