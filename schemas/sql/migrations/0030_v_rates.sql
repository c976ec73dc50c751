-- What readers see of rates: the newest load.
CREATE VIEW IF NOT EXISTS v_rates AS
SELECT * EXCEPT (digest)
FROM rates FINAL
WHERE digest = (SELECT argMax(digest, loaded_at) FROM price_loads);
