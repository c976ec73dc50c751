"""HTTP out: the billing dashboard, its JSON API and its downloads. Reads only; counts nothing."""
