"""From what was measured to what a scrape gets."""
