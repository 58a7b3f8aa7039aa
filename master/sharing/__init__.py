"""Sessions that several people share: invitations by link, people with a right to join, and who is there now."""
