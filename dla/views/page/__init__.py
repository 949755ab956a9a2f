"""One HTML file in which a result is explored: no network, no script but its own, all texts shown as text."""
