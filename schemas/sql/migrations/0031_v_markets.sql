-- What readers see of markets: the newest load.
CREATE VIEW IF NOT EXISTS v_markets AS
SELECT * EXCEPT (digest)
FROM markets FINAL
WHERE digest = (SELECT argMax(digest, loaded_at) FROM price_loads);
