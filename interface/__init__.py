"""Front door: uploads, jobs, single predictions."""
