"""`make replay`: past nights run again one after another, each scored on the day that then really came."""
