"""Grafana's configuration, and the program that makes the dashboards in it."""
