"""Studies: one dataset built with several settings and seeds, and a page that says what differs beyond chance."""
