// What makes pages pleasant; every page works without it.
