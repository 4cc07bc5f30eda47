"""The read side: the events told again as balances, revenue, conversions, customers."""
