"""What the AIMQ services share."""
