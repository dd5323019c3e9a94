"""The sample company, and the script that writes its office files. Not part of the installed package."""
