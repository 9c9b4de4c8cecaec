"""``/.live``: a page that shows which pod answers each request."""
