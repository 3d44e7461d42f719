"""The documents; the package makes the pictures in them."""
