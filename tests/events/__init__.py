"""Events: the contract's tables, worked examples and rules, and what must hold for any event."""
