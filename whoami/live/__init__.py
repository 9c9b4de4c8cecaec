"""``/.live``: one page that shows, request by request, which pod answers."""
