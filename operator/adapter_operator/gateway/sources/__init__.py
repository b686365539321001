"""Where routing tables come from: a file, or a cluster."""
