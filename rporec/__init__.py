"""RPORec as a library: pure and typed; values come in as arguments, nothing reads argv, environment or fixed paths."""
