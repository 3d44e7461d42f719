"""Deployments, and the program that makes what they have from other files."""
