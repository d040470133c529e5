"""What can be asked of a server: one class for each call, and the narrow waist that takes them."""
