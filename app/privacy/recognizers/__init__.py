"""One family of recognizers a file. Each is a Presidio `LocalRecognizer` made of rules; none calls a network, none keeps text."""
