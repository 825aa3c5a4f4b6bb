"""The rules of paying held 12306 orders, and what runs them. See README.md for the map."""
