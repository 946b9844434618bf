"""The chaos study: kill things at random under load, then account for every accepted upload."""
