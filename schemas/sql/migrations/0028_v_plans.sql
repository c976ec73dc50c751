-- What readers see of plans: the newest load.
CREATE VIEW IF NOT EXISTS v_plans AS
SELECT * EXCEPT (digest)
FROM plans FINAL
WHERE digest = (SELECT argMax(digest, loaded_at) FROM price_loads);
