"""The tutorial's application."""
