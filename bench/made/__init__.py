"""What several measurements share: a made-up company of any size, and a real server process over it."""
