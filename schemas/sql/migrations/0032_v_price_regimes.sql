-- What readers see of price_regimes: the newest load.
CREATE VIEW IF NOT EXISTS v_price_regimes AS
SELECT * EXCEPT (digest)
FROM price_regimes FINAL
WHERE digest = (SELECT argMax(digest, loaded_at) FROM price_loads);
