"""Single instructions recorded on hardware, run in every engine."""
